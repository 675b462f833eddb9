"""Names, shapes and outputs against torchvision 0.28.0, whose answers are frozen in `tests/golden/torchvision`.

Its networks were filled with the numbers of `_fill` and shown the images of `_images`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resight.backbones import Backbone, build_backbone

GOLDEN = Path(__file__).parents[1] / "golden" / "torchvision"
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"resnet{depth}": ("resnet", {"depth": depth}) for depth in (18, 34, 50, 101, 152)},
    "alexnet": ("alexnet", {}),
    "vgg16": ("vgg", {}),
    "vgg16_bn": ("vgg", {"norm": "batch"}),
    "densenet121": ("densenet", {}),
    "inception_v3": ("inception", {"auxiliary_classes": 1000}),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.txt")))
def test_state_dict_has_torchvisions_names_and_shapes(name: str) -> None:
    member, options = OURS[name]
    with torch.device("meta"):
        state = build_backbone(member, num_classes=1000, **options).state_dict()
    ours = {f"{key} {'x'.join(map(str, tensor.shape)) or 'scalar'}" for key, tensor in state.items()}
    assert ours == set((GOLDEN / f"{name}.txt").read_text().splitlines())


@pytest.mark.parametrize("name", OURS)
def test_logits_are_torchvisions(name: str) -> None:
    network, golden = _filled(name)
    with torch.no_grad():
        logits = network(_images(golden["size_px"]))
    expected = torch.tensor(golden["logits"])
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-5)


def test_the_side_branch_is_torchvisions() -> None:
    network, golden = _filled("inception_v3")
    grid = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 768, 17, 17))).float()
    nothing = torch.empty(0)
    with torch.no_grad():
        logits = network.auxiliary((nothing, nothing, nothing, grid, nothing))
    assert logits is not None
    torch.testing.assert_close(logits[:, :6], torch.tensor(golden["auxiliary"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.69), (34, 21.80), (50, 25.56), (101, 44.55), (152, 60.19)])
def test_parameter_counts_of_the_paper(depth: int, millions: float) -> None:
    with torch.device("meta"):
        network = build_backbone("resnet", depth=depth, num_classes=1000)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


def _filled(name: str) -> tuple[Backbone, dict[str, Any]]:
    golden = json.loads((GOLDEN / "logits.json").read_text())[name]
    member, options = OURS[name]
    with torch.device("meta"):
        network = build_backbone(member, num_classes=1000, **options)
    network = network.to_empty(device="cpu").eval()
    with torch.no_grad():
        _fill(network.state_dict(), golden["norm_scale"])
    return network, golden


def _fill(state: dict[str, torch.Tensor], norm_scale: float) -> None:
    random = np.random.RandomState(1512)
    for key, tensor in sorted(state.items()):
        if not tensor.dtype.is_floating_point:
            continue
        noise = torch.from_numpy(random.standard_normal(tensor.shape))
        if key.endswith("running_var"):
            noise = noise.abs() + 0.5
        elif tensor.ndim > 1:
            noise = noise * math.sqrt(2.0 / tensor[0].numel())
        elif key.endswith("weight"):
            noise = norm_scale + 0.1 * noise
        else:
            noise = 0.1 * noise
        tensor.copy_(noise)


def _images(size_px: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(3385).standard_normal((2, 3, size_px, size_px))).float()
