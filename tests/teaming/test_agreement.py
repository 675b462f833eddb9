from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from resight.teaming import automation_bias, cohen_kappa, fleiss_kappa, mean_pairwise_kappa


@pytest.mark.parametrize("weighted", [False, True])
def test_cohen_equals_scikit_learn(weighted: bool, rng: np.random.Generator) -> None:
    first, second = rng.integers(0, 4, (2, 200)).astype(float)
    second[:90] = first[:90]
    expected = cohen_kappa_score(first, second, weights="quadratic" if weighted else None)
    assert cohen_kappa(first, second, weighted=weighted).value == pytest.approx(expected, abs=1e-12)


def test_fleiss_is_what_the_formulas_give() -> None:
    """Two categories, three subjects and four readers, with the formulas of Fleiss 1971 written out."""
    decisions = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 0]], dtype=float)
    agree = np.mean([1, (2 * 1 + 2 * 1) / 12, (3 * 2) / 12])
    share = (4 + 2 + 3) / 12
    chance = share**2 + (1 - share) ** 2
    found = fleiss_kappa(decisions, np.arange(3), replicates=0)
    assert found.value == pytest.approx((agree - chance) / (1 - chance))


def test_agreement_that_cannot_be_estimated_says_why() -> None:
    alone = np.array([[1, 0, np.nan], [np.nan, np.nan, 1]])
    assert "two readers" in fleiss_kappa(alone, np.arange(3)).undefined_because
    assert "one and the same" in fleiss_kappa(np.ones((2, 3)), np.arange(3)).undefined_because
    assert "both" in cohen_kappa(alone[0], alone[1]).undefined_because
    assert mean_pairwise_kappa(alone).undefined_because


def test_the_interval_of_fleiss_holds_the_value(rng: np.random.Generator) -> None:
    truth = rng.integers(0, 2, 150)
    decisions = np.where(rng.random((5, 150)) < 0.85, truth, 1 - truth).astype(float)
    found = fleiss_kappa(decisions, np.arange(150) // 2, replicates=300)
    assert found.low < found.value < found.high
    assert 0.3 < found.value < 0.7


def test_readers_who_follow_blindly_are_exposed(rng: np.random.Generator) -> None:
    targets = (rng.random(400) < 0.4).astype(float)
    model = np.where(rng.random(400) < 0.8, targets, 1 - targets)
    unaided = np.where(rng.random((3, 400)) < 0.7, targets, 1 - targets)
    blind = automation_bias(unaided, np.tile(model, (3, 1)), model, targets, np.arange(400))
    deaf = automation_bias(unaided, unaided, model, targets, np.arange(400))
    assert blind.followed_wrong.value == blind.commission.value == blind.omission.value == 1
    assert blind.followed_right.value == 1
    assert deaf.followed_wrong.value == deaf.followed_right.value == 0
    assert deaf.kept_right.value == 1


def test_a_model_without_errors_leaves_commission_undefined() -> None:
    targets = np.array([1.0, 0.0, 1.0])
    found = automation_bias(targets[None], targets[None], targets, targets, np.arange(3))
    assert "no false alarm" in found.commission.undefined_because
    assert "misses nothing" in found.omission.undefined_because
