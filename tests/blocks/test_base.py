from __future__ import annotations

import pytest
import torch
from torch import nn

from resight.blocks import ATTENTION, build_attention, build_norm
from resight.errors import SettingsError


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (128, 32), (64, 16), (16, 4), (12, 2), (7, 1), (1, 1)])
def test_groups_divide_the_channels_and_hold_four(channels: int, groups: int) -> None:
    norm = build_norm("group", channels, 2)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups
    assert norm(torch.rand(2, channels, 3, 3)).shape == (2, channels, 3, 3)


@pytest.mark.parametrize("dims", [2, 3])
def test_batch_norm_is_that_of_the_dimensions(dims: int) -> None:
    assert build_norm("batch", 4, dims)(torch.rand(2, 4, *[3] * dims)).shape == (2, 4, *[3] * dims)


@pytest.mark.parametrize("name", [*ATTENTION.names(), "none"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [4, 64])
def test_attention_keeps_the_shape_and_does_not_mix_samples(name: str, dims: int, channels: int) -> None:
    torch.manual_seed(0)
    layer = build_attention(name, channels, dims).eval()
    images = torch.randn(3, channels, *[5] * dims)
    weighted = layer(images)
    assert weighted.shape == images.shape
    torch.testing.assert_close(weighted[1:2], layer(images[1:2]))
    assert torch.equal(weighted == 0, images == 0)
    assert (weighted.abs() <= images.abs()).all()
    assert torch.equal(weighted, images) == (name == "none")


def test_an_unknown_attention_is_named() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'cbam'"):
        build_attention("cbamm", 4, 2)
