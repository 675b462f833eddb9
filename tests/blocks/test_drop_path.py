from __future__ import annotations

import torch

from resight.blocks import DropPath


def test_whole_samples_are_dropped_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    branch = torch.ones(4000, 3, 2, 2)
    dropped = DropPath(0.25).train()(branch)
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(dropped.mean().item() - 1) < 0.03


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero() -> None:
    branch = torch.rand(5, 3, 2, 2, 2)
    assert DropPath(0.9).eval()(branch) is branch
    assert DropPath(0.0).train()(branch) is branch
