"""The counter of operations against the one that comes with torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from resight.backbones import build_backbone
from resight.blocks import counting_flops


@pytest.mark.parametrize(
    ("options", "dims"),
    [
        ({"depth": 18}, 2),
        ({"depth": 50, "attention": ["se", "eca", "cbam", "none"]}, 2),
        ({"depth": 18, "stem": "deep", "shortcut": "average", "gate_target": 0.5}, 2),
        ({"depth": 10}, 3),
        ({"depth": 10, "filters": "acs"}, 3),
    ],
)
def test_counts_are_torchs(options: dict[str, Any], dims: int) -> None:
    network = build_backbone("resnet", width=16, dims=dims, num_classes=3, **options).eval()
    images = torch.rand(2, 3, *[32] * dims)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs, counting_flops(network) as ours:
        network(images)
    assert sum(ours.values()) == theirs.get_total_flops() > 0
    assert ours["layer1.0.conv1"] > 0


def test_a_layer_that_is_not_called_counts_nothing_and_the_count_ends() -> None:
    network = build_backbone("resnet", depth=10, width=4).eval()
    with counting_flops(network) as counts:
        network.stem(torch.rand(1, 3, 32, 32))
    assert set(counts) == {"conv1"}
    before = counts.copy()
    network(torch.rand(1, 3, 32, 32))
    assert counts == before
