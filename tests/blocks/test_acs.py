from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from resight.blocks import ACSConv


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, (1, 2, 2)), (1, 2)])
@pytest.mark.parametrize("channels", [2, 8, 9])
def test_each_third_of_the_channels_is_a_flat_filter_in_its_plane(
    kernel: int, stride: int | tuple[int, ...], channels: int
) -> None:
    torch.manual_seed(0)
    layer = ACSConv(2, channels, kernel, stride=stride, padding=kernel // 2)
    images = torch.randn(2, 2, 9, 10, 11)
    full = torch.zeros(channels, 2, kernel, kernel, kernel)
    third, middle = channels // 3, kernel // 2
    axial = channels - 2 * third
    full[:axial, :, middle] = layer.weight.data[:axial]
    full[axial : axial + third, :, :, middle] = layer.weight.data[axial : axial + third]
    full[axial + third :, :, :, :, middle] = layer.weight.data[axial + third :]
    expected = functional.conv3d(images, full, layer.bias, stride, kernel // 2)
    torch.testing.assert_close(layer(images), expected)


def test_a_turned_volume_is_seen_by_the_other_planes() -> None:
    torch.manual_seed(0)
    layer = ACSConv(1, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight[:] = layer.weight[:1]
    images = torch.randn(1, 1, 6, 6, 6)
    maps, turned = layer(images), layer(images.transpose(2, 3))
    torch.testing.assert_close(turned[:, 0], maps[:, 1].transpose(1, 2))
