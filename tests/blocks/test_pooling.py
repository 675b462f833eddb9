from __future__ import annotations

from typing import get_args

import pytest
import torch

from resight.blocks import PartPooling, Pooling


@pytest.mark.parametrize("kind", get_args(Pooling))
def test_the_order_of_parts_does_not_matter_and_samples_do_not_mix(kind: Pooling) -> None:
    torch.manual_seed(0)
    pooling, parts = PartPooling(kind, 8), torch.randn(3, 5, 8)
    pooled = pooling(parts)
    assert pooled.shape == (3, 8)
    torch.testing.assert_close(pooling(parts.flip(1)), pooled)
    torch.testing.assert_close(pooling(parts[1:2]), pooled[1:2])
    torch.testing.assert_close(pooling(parts[:, :1]), parts[:, 0])


def test_attention_chooses_the_part_that_scores() -> None:
    torch.manual_seed(0)
    pooling, parts = PartPooling("attention", 8), torch.randn(2, 5, 8)
    weights = pooling.weights(parts)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    with torch.no_grad():
        pooling.score.weight *= 1e4
    best = weights.argmax(dim=1)
    torch.testing.assert_close(pooling(parts), parts[torch.arange(2), best])
