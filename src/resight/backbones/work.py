"""What each stage and each gated unit of a backbone costs for one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from resight.backbones.base import Backbone
from resight.blocks import ResidualUnit, counting_flops, watching_gates


@dataclass(frozen=True)
class UnitWork:
    """One unit that a gate may leave out.

    Attributes:
        name: in the backbone, for example `layer3.1`.
        stage: index of its stage.
        flops: of its branch, which is what the gate spares.
    """

    name: str
    stage: int
    flops: int


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one image.

    Attributes:
        stages: of each stage with all gates open, the gates themselves included.
        units: every gated unit, in the order in which the gates are asked.
    """

    stages: tuple[int, ...]
    units: tuple[UnitWork, ...]


def measure_work(backbone: Backbone, size: tuple[int, ...]) -> Work:
    """Count the operations of a backbone with steps, on one black image; the backbone is left as it was.

    Args:
        backbone: of any kind that has `steps`.
        size: channels and grid of the image.
    """
    training = [part for part in backbone.modules() if part.training]
    backbone.eval()
    current = torch.zeros(1, *size, device=next(backbone.parameters()).device)
    stages: list[int] = []
    units: list[UnitWork] = []
    gated = {name: part for name, part in backbone.named_modules() if isinstance(part, ResidualUnit) and part.gate}
    try:
        with torch.no_grad(), watching_gates(threshold=0.0):
            for index, step in enumerate(backbone.steps()):
                with counting_flops(backbone) as counts:
                    current = step(current)
                stages.append(sum(counts.values()))
                for name in gated:
                    kept = (f"{name}.gate.", f"{name}.downsample.")
                    layers = [layer for layer in counts if layer.startswith(f"{name}.")]
                    if layers:
                        branch = sum(counts[layer] for layer in layers if not layer.startswith(kept))
                        units.append(UnitWork(name, index, branch))
    finally:
        for part in training:
            part.training = True
    return Work(tuple(stages), tuple(units))
