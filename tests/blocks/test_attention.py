"""Attention layers against their papers' formulas, written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from resight.blocks import ATTENTION

IMAGES = torch.randn(2, 16, 6, 6, generator=torch.Generator().manual_seed(0))


def test_squeeze_and_excitation() -> None:
    layer = ATTENTION.build("se", {"reduction": 4}, channels=16, dims=2)
    first, second = layer.gate[0], layer.gate[2]
    hidden = (IMAGES.mean((2, 3)) @ first.weight.T + first.bias).relu()
    gate = (hidden @ second.weight.T + second.bias).sigmoid()
    torch.testing.assert_close(layer(IMAGES), IMAGES * gate[:, :, None, None])


def test_efficient_channel_attention() -> None:
    layer = ATTENTION.build("eca", channels=16, dims=2)
    weight = layer.conv.weight.flatten()
    means = functional.pad(IMAGES.mean((2, 3)), [1, 1])
    gate = (weight[0] * means[:, :-2] + weight[1] * means[:, 1:-1] + weight[2] * means[:, 2:]).sigmoid()
    torch.testing.assert_close(layer(IMAGES), IMAGES * gate[:, :, None, None])


@pytest.mark.parametrize(("channels", "kernel"), [(4, 1), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_the_kernel_of_eca_follows_equation_12(channels: int, kernel: int) -> None:
    assert ATTENTION.build("eca", channels=channels, dims=2).conv.kernel_size == (kernel,)


def test_convolutional_block_attention() -> None:
    layer = ATTENTION.build("cbam", {"reduction": 4, "kernel": 3}, channels=16, dims=2)
    gate = (layer.channel(IMAGES.mean((2, 3))) + layer.channel(IMAGES.amax((2, 3)))).sigmoid()
    weighted = IMAGES * gate[:, :, None, None]
    summary = torch.stack([weighted.mean(1), weighted.amax(1)], dim=1)
    places = functional.conv2d(summary, layer.place.weight, layer.place.bias, padding=1).sigmoid()
    torch.testing.assert_close(layer(IMAGES), weighted * places)
