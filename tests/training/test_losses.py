"""Losses against formulas written out, and what a mask must do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from resight.errors import SettingsError
from resight.training import LOSSES

MULTILABEL = ("asymmetric", "binary", "focal")


def build(name: str, task: str = "multilabel", weight: torch.Tensor | None = None, **options: float) -> torch.nn.Module:
    return LOSSES.build(name, options, task=task, positive_weight=weight)


def batch(seed: int = 0, size: int = 8, labels: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, labels, generator=generator)
    targets = (torch.rand(size, labels, generator=generator) > 0.5).float()
    mask = torch.rand(size, labels, generator=generator) > 0.3
    return logits, targets, mask


@pytest.mark.parametrize("name", MULTILABEL)
@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_masked_entries_do_not_count(name: str, seed: int) -> None:
    logits, targets, mask = batch(seed)
    changed = torch.where(mask, logits, logits + 100.0)
    poisoned = torch.where(mask, targets, torch.full_like(targets, float("nan")))
    loss = build(name)
    assert torch.equal(loss(logits, targets, mask), loss(changed, poisoned, mask))


@pytest.mark.parametrize("name", [*MULTILABEL, "categorical"])
def test_nothing_known_gives_zero_loss_and_zero_gradient(name: str) -> None:
    logits, targets, mask = batch()
    logits.requires_grad_()
    task = "multiclass" if name == "categorical" else "multilabel"
    loss = build(name, task)(logits, targets, torch.zeros_like(mask))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_binary_is_the_mean_over_known_entries() -> None:
    logits, targets, mask = batch()
    p = torch.sigmoid(logits)
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log())[mask].mean()
    torch.testing.assert_close(build("binary")(logits, targets, mask), expected)


def test_focal_without_focus_is_binary_cross_entropy_and_focus_lowers_easy_examples() -> None:
    logits, targets, mask = batch()
    torch.testing.assert_close(build("focal", gamma=0.0)(logits, targets, mask), build("binary")(logits, targets, mask))
    easy = (2 * targets - 1) * 4
    assert build("focal")(easy, targets, mask) < 0.01 * build("binary")(easy, targets, mask)


def test_asymmetric_follows_its_equation() -> None:
    logits, targets, mask = batch()
    p = torch.sigmoid(logits)
    shifted = (p - 0.05).clamp(min=0)
    expected = -(targets * p.log() + (1 - targets) * shifted**4 * (1 - shifted).log())[mask].mean()
    torch.testing.assert_close(build("asymmetric")(logits, targets, mask), expected)


def test_categorical_equals_torch_and_skips_images_with_an_unknown_class() -> None:
    logits, _, _ = batch()
    classes = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    targets = functional.one_hot(classes, 3).float()
    mask = torch.ones_like(targets, dtype=torch.bool)
    mask[3, 1] = False
    known = mask.all(dim=1)
    expected = functional.cross_entropy(logits[known], classes[known])
    torch.testing.assert_close(build("categorical", "multiclass")(logits, targets, mask), expected)


def test_positive_weight_scales_positives_only() -> None:
    logits, targets, mask = batch()
    weighted = build("binary", weight=torch.full((3,), 5.0))
    negatives = torch.zeros_like(targets)
    torch.testing.assert_close(weighted(logits, negatives, mask), build("binary")(logits, negatives, mask))
    assert weighted(logits, targets, mask) > build("binary")(logits, targets, mask)


@pytest.mark.parametrize(
    ("name", "task"), [("binary", "multiclass"), ("categorical", "binary"), ("focal", "multiclass")]
)
def test_a_loss_that_does_not_fit_the_task_is_refused(name: str, task: str) -> None:
    with pytest.raises(SettingsError, match=r"does not fit"):
        build(name, task)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 1e4]])
    targets, mask = torch.tensor([[0.0, 1.0, 1.0]]), torch.ones(1, 3, dtype=torch.bool)
    for name in MULTILABEL:
        assert np.isfinite(build(name)(logits, targets, mask).item()), name
