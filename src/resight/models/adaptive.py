"""Running a network for no longer than an image needs: gates and exits that really skip what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from resight.backbones import Work, measure_work
from resight.blocks import Gate, counting_flops, watching_gates
from resight.evaluation.budgets import BudgetPoint, Left, Trace, sureness
from resight.models.classifier import Classifier, Images
from resight.models.device import autocast, channels_last
from resight.models.engine import TorchEngine
from resight.types import Task


@dataclass(frozen=True)
class Costs:
    """Floating-point operations of one image.

    Attributes:
        work: of the backbone's stages and of the units behind gates.
        exits: of each exit's own layers, in order of work.
        head: of the last classifier.
    """

    work: Work
    exits: tuple[int, ...]
    head: int

    @property
    def whole(self) -> int:
        """Of the network with all units and no exits."""
        return sum(self.work.stages) + self.head


def is_adaptive(classifier: Classifier) -> bool:
    """Whether there is anything to skip: exits, or units behind gates."""
    return bool(classifier.exits) or any(isinstance(part, Gate) for part in classifier.modules())


def measure_costs(classifier: Classifier, size: tuple[int, ...]) -> Costs:
    """Count the operations for one image; the classifier must be in evaluation mode.

    Args:
        classifier: whose backbone has steps.
        size: channels and grid of the image.
    """
    image = torch.zeros(1, *size, device=classifier.mean.device)
    with torch.no_grad():
        stages = classifier.stages(image)
        exits = [_cost(part, stages[stage]) for stage, part in classifier.exits_by_stage().items()]
        head = _cost(classifier.head, classifier.backbone.pool(stages[-1]))
    return Costs(measure_work(classifier.backbone, size), tuple(exits), head)


@torch.no_grad()
def trace(classifier: Classifier, images: Images, costs: Costs, gate_threshold: float) -> Trace:
    """Logits and work at every place where the network can answer, no image leaving.

    Args:
        classifier: in evaluation mode.
        images: `(B, C, *space)`, 0 to 255.
        costs: of one image.
        gate_threshold: units run for images whose gate is at it or above.
    """
    exits = classifier.exits_by_stage()
    current: Tensor = classifier.normalise(images)
    spent, logits, flops = np.zeros(len(images)), [], []
    for stage, step in enumerate(classifier.backbone.steps()):
        with watching_gates(gate_threshold) as gates:
            current = step(current)
        spent = spent + _stage_flops(costs.work, stage, gates, gate_threshold)
        if stage in exits:
            logits.append(_plain(exits[stage](current)))
            flops.append(spent)
    logits.append(_plain(classifier.head(classifier.backbone.pool(current))))
    flops.append(spent + costs.head)
    return Trace(
        np.stack(logits, axis=1),
        np.stack(flops, axis=1) / costs.whole,
        np.asarray(costs.exits) / costs.whole,
        gate_threshold,
    )


@torch.no_grad()
def run_within(
    classifier: Classifier, images: Images, point: BudgetPoint, deciding: Sequence[float], task: Task, costs: Costs
) -> Left:
    """Answer as a budget's point says; what leaves is not computed any further, alone or in a batch.

    Args:
        classifier: in evaluation mode.
        images: `(B, C, *space)`, 0 to 255.
        point: limits of the exits, threshold of the gates, calibrations.
        deciding: threshold of each label.
        task: kind of classification.
        costs: of one image.
    """
    exits = classifier.exits_by_stage()
    asked = {stage: e for e, stage in enumerate(exits) if point.margins[e] is not None}
    n_labels = len(point.calibrations[0].labels)
    logits = np.full((len(images), n_labels), np.nan)
    probabilities, decided_at = logits.copy(), np.full(logits.shape, -1)
    spent, rows = np.zeros(len(images)), np.arange(len(images))
    current: Tensor = classifier.normalise(images)

    def decide(place: int, answer: Tensor, margin: float | None) -> None:
        found = _plain(answer)
        calibrated = point.calibrations[place].apply(found)
        sure = True if margin is None else sureness(calibrated, deciding, task) >= margin
        new = (decided_at[rows] < 0) & sure
        for whole, part in ((logits, found), (probabilities, calibrated), (decided_at, place)):
            whole[rows] = np.where(new, part, whole[rows])

    for stage, step in enumerate(classifier.backbone.steps()):
        with watching_gates(point.gate_threshold) as gates:
            current = step(current)
        spent[rows] += _stage_flops(costs.work, stage, gates, point.gate_threshold)
        if stage not in asked:
            continue
        place = asked[stage]
        spent[rows] += costs.exits[place]
        decide(place, exits[stage](current), point.margins[place])
        staying = (decided_at[rows] < 0).any(axis=1)
        if not staying.any():
            break
        if not staying.all():
            current, rows = current[torch.from_numpy(staying).to(current.device)], rows[staying]
    else:
        decide(len(exits), classifier.head(classifier.backbone.pool(current)), None)
        spent[rows] += costs.head
    return Left(logits, probabilities, decided_at, decided_at.max(axis=1), spent / costs.whole)


class AdaptiveRunner:
    """Runs prepared images within a budget, in the format of an engine.

    Args:
        classifier: in evaluation mode.
        deciding: threshold of each label.
        task: kind of classification.
        engine: whose device and number format are taken.
    """

    def __init__(self, classifier: Classifier, deciding: Sequence[float], task: Task, engine: TorchEngine) -> None:
        self._classifier, self._deciding, self._engine = classifier, deciding, engine
        self._task: Task = task
        self._costs: Costs | None = None

    def run(self, prepared: UInt8[np.ndarray, "B C *space"], point: BudgetPoint) -> Left:
        """Answers, and where each image left.

        Args:
            prepared: images that the bundle's recipe prepared.
            point: what a budget buys.
        """
        if self._costs is None:
            self._costs = measure_costs(self._classifier, prepared.shape[1:])
        with torch.inference_mode(), autocast(self._engine.format, self._engine.device):
            images = channels_last(torch.from_numpy(prepared).to(self._engine.device))
            return run_within(self._classifier, images, point, self._deciding, self._task, self._costs)


def _stage_flops(
    work: Work, stage: int, gates: Sequence[Float[Tensor, " B"]], threshold: float
) -> Float[np.ndarray, " B"] | float:
    """What one stage cost each image: all of it, less the units whose gate was shut."""
    units = [unit for unit in work.units if unit.stage == stage]
    spared = [unit.flops * (gate < threshold).double().cpu().numpy() for unit, gate in zip(units, gates, strict=True)]
    return work.stages[stage] - sum(spared)


def _cost(part: torch.nn.Module, inputs: Tensor) -> int:
    with counting_flops(part) as counts:
        part(inputs)
    return sum(counts.values())


def _plain(logits: Tensor) -> Float[np.ndarray, "B L"]:
    return logits.double().cpu().numpy()
