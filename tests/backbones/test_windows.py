from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from resight.backbones import Backbone, build_backbone
from resight.errors import SettingsError

TINY = {"name": "resnet", "depth": 10, "width": 4, "stem": "strided", "zero_init": False}  # last map at stride 16


def windowed(dims: int = 2, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return build_backbone("windows", dims=dims, in_channels=1, **{"network": TINY, "side_px": 32, **options}).eval()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_windows_side_by_side_are_pooled(dims: int, pooling: str) -> None:
    backbone = windowed(dims, overlap=0, pooling=pooling, side_px=(32, 48, 32)[-dims:], at_once=3)
    images = torch.rand(2, 1, *(32, 96, 64)[-dims:])
    with torch.no_grad():
        parts = [p for row in images.split(48, dim=-2) for p in row.split(32, dim=-1)]
        assert len(parts) == 4
        features = torch.stack([backbone.network(part) for part in parts], dim=1)
        assert_close(backbone(images), features.mean(1) if pooling == "mean" else features.amax(1))
        top = torch.cat([backbone.network.stages(part)[1] for part in parts[:2]], dim=-1)
        assert_close(backbone.stages(images)[1][..., : top.shape[-2], :], top)


def test_overlaps_are_averaged_and_the_last_window_ends_with_the_image() -> None:
    backbone, images = windowed(overlap=0.4), torch.rand(1, 1, 32, 80)
    with torch.no_grad():
        first, second, third, fourth = (
            backbone.network.stages(images[..., at : at + 32])[-1] for at in (0, 16, 32, 48)
        )
        blended = backbone.stages(images)[-1]
    expected = [
        first[..., 0],
        (first[..., 1] + second[..., 0]) / 2,
        (second[..., 1] + third[..., 0]) / 2,
        (third[..., 1] + fourth[..., 0]) / 2,
        fourth[..., 1],
    ]
    assert_close(blended, torch.stack(expected, dim=-1))


def test_an_image_within_one_window_goes_through_whole() -> None:
    backbone, images = windowed(side_px=64), torch.rand(2, 1, 40, 50)
    with torch.no_grad():
        assert_close(backbone(images), backbone.network(images))


def test_training_sees_windows_at_random_places_and_repeats_them_for_a_seed() -> None:
    class Seen(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            shapes.append(images.shape)
            return images

    shapes: list[torch.Size] = []
    backbone = windowed(3, side_px=(16, 32, 32), training_windows=3)
    backbone.network.conv1 = nn.Sequential(Seen(), backbone.network.conv1)
    backbone.train()
    images = torch.rand(2, 1, 37, 32, 41)
    with torch.no_grad():
        torch.manual_seed(5)
        one = backbone.stages(images)[-1]
        torch.manual_seed(5)
        two = backbone.stages(images)[-1]
        other = backbone.stages(images)[-1]
    assert shapes == [torch.Size([6, 1, 16, 32, 32])] * 3
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert backbone(images).shape == (2, backbone.feature_dim)


def test_windows_that_do_not_fit_the_stride_are_named() -> None:
    with pytest.raises(SettingsError, match="windows of 32 in images of 70 pixels; expected multiples of 16"):
        windowed()(torch.rand(1, 1, 32, 70))
    with pytest.raises(SettingsError, match=r"side_px = \[32, 32\]; expected 3 sides"):
        windowed(3, side_px=(32, 32))
