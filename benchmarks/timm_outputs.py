"""What timm's own SE- and ECA-ResNets answer, written down so that ours can be held against it without timm.

    python benchmarks/timm_outputs.py     # in the environment of `make bench`, which has timm

Published files are not at hand, so every weight follows a formula that needs none: a sine over its entries, scaled by
the fan-in. timm's networks are filled with it and asked for one drawn image; `tests/backbones/test_timm.py` fills ours
through `load_weights` and expects the same logits (in float64, so that only arithmetic can differ).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

OUT = Path(__file__).parents[1] / "tests" / "golden" / "timm" / "outputs.json"
SIDE_PX = 96
KEPT = 16
"""Logits that are written down, the first of a thousand."""


def weights_by_formula(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state that is the same everywhere: no random generator is asked."""
    return {name: _tensor(name, shape, number) for number, (name, shape) in enumerate(sorted(shapes.items()))}


def image() -> Tensor:
    """One colour image of waves, about 0 with a deviation of about 1."""
    return _wave((1, 3, SIDE_PX, SIDE_PX), 0.5) * 1.4


def _tensor(name: str, shape: tuple[int, ...], number: int) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    wave = _wave(shape, float(number))
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return 1 + 0.3 * wave  # variances and scales of the normalisation
    if len(shape) == 1:
        return 0.1 * wave
    return wave * (2.0 / (wave[0].numel())) ** 0.5 * 1.4


def _wave(shape: tuple[int, ...], phase: float) -> Tensor:
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(count * 0.7390851 + count.square() * 0.000113 + phase).reshape(shape).float()


def main() -> None:
    schemas = torch.library.Library(
        "torchvision", "DEF"
    )  # torchvision, which timm imports, was built for another torch
    for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor a) -> Tensor"):
        schemas.define(schema)
    import timm

    torch.set_num_threads(1)
    found = {"timm": timm.__version__, "torch": torch.__version__, "side_px": SIDE_PX, "logits": {}}
    for name in ("seresnet18", "seresnet50", "ecaresnet50d", "ecaresnet50t"):
        network = timm.create_model(name, pretrained=False).eval()
        network.load_state_dict(weights_by_formula({k: tuple(v.shape) for k, v in network.state_dict().items()}))
        with torch.no_grad():
            found["logits"][name] = [round(x, 9) for x in network.double()(image().double())[0, :KEPT].tolist()]
        print(name, found["logits"][name][:4])
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
