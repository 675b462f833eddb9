from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from resight.backbones import Backbone, build_backbone
from resight.errors import SettingsError

TINY = {"name": "resnet", "depth": 10, "width": 4, "zero_init": False}


def sliced(**options: object) -> Backbone:
    torch.manual_seed(0)
    return build_backbone("slices", dims=3, in_channels=1, **{"network": TINY, **options}).eval()


def test_features_are_those_of_the_slices() -> None:
    volume = torch.rand(2, 1, 4, 32, 32)
    mean, largest = sliced(), sliced(pooling="max")
    with torch.no_grad():
        slices = torch.stack([mean.network(volume[:, :, depth]) for depth in range(4)])
        assert_close(mean(volume), slices.mean(0))
        assert_close(largest(volume), slices.amax(0))
        assert mean.stages(volume)[-1].shape == (2, 32, 4, 1, 1)
        assert_close(mean.stages(volume)[0][:, :, 2], mean.network.stages(volume[:, :, 2])[0])


def test_neighbours_become_channels() -> None:
    backbone, volume = sliced(neighbours=1), torch.rand(1, 1, 3, 32, 32)
    seen = [torch.cat([volume[:, :, max(d - 1, 0)], volume[:, :, d], volume[:, :, min(d + 1, 2)]], 1) for d in range(3)]
    with torch.no_grad():
        assert_close(backbone(volume), torch.stack([backbone.network(s) for s in seen]).mean(0))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"depth": 18}, "no name"),
        ({"name": "resnet", "num_classes": 2}, "num_classes = 2. Leave num_classes away"),
        ({"name": "resnet", "gate_target": 0.6}, "gate_target = 0.6. Leave gate_target away"),
        ({"name": "windows"}, "carries a network itself"),
        ({"name": "resnet", "depht": 18}, "depht"),
    ],
)
def test_a_network_that_does_not_fit_is_named(network: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        sliced(network=network)
