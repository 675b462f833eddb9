from __future__ import annotations

import pytest
import torch
from torch import nn

from resight.models import ModelOptions, build_classifier, channels_last, with_channels_last


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_keep_channels_last_also_of_grey_images(dims: int, channels: int) -> None:
    order = torch.channels_last if dims == 2 else torch.channels_last_3d
    torch.manual_seed(0)
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4})
    network = build_classifier(options, labels=("a",), channels=channels, dims=dims).eval()
    images = torch.randint(0, 256, (2, channels, *(32,) * dims), dtype=torch.uint8)
    maps: list[torch.Tensor] = []
    for layer in network.backbone.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.register_forward_hook(lambda *of: maps.append(of[-1]))
    with torch.inference_mode():
        expected = network(images)
        maps.clear()
        answer = with_channels_last(network)(channels_last(images))
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
    assert len(maps) > 5
    assert all(each.is_contiguous(memory_format=order) for each in maps)
    torch.testing.assert_close(channels_last(images), images, rtol=0, atol=0)
