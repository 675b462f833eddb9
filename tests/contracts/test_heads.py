"""Every registered head keeps the promises of `resight.heads.base`."""

from __future__ import annotations

import pytest
import torch

from resight.heads import HEADS


@pytest.fixture(params=HEADS.names())
def head(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return HEADS.build(request.param, in_features=12, n_labels=3)


def test_features_become_one_logit_a_label(head: torch.nn.Module) -> None:
    logits = head(torch.randn(5, 12))
    assert logits.shape == (5, 3)
    assert torch.isfinite(logits).all()


def test_every_parameter_learns(head: torch.nn.Module) -> None:
    head.train()(torch.randn(5, 12)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_samples_do_not_see_each_other_in_evaluation(head: torch.nn.Module) -> None:
    features = torch.randn(5, 12)
    head.eval()
    torch.testing.assert_close(head(features)[2:3], head(features[2:3]))
