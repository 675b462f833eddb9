"""Estimates of a prognosis: edges, and intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resight.evaluation.survival import brier_at, concordance, dynamic_auroc, integrated_brier, kaplan_meier


def _draw(rng: np.random.Generator, count: int):
    risk = rng.normal(size=count)
    died, left = rng.exponential(np.exp(-risk)), rng.uniform(0.2, 3.0, count)
    return np.minimum(died, left), died <= left, risk


def test_a_perfect_order_is_1_and_its_reverse_0() -> None:
    time, event = np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
    assert concordance(time, event, np.array([3.0, 2.0, 1.0])).value == 1
    assert concordance(time, event, np.array([1.0, 2.0, 3.0])).value == 0
    assert concordance(time, event, np.zeros(3)).value == 0.5


def test_what_cannot_be_estimated_is_nan() -> None:
    time, none = np.array([1.0, 2.0]), np.array([False, False])
    assert math.isnan(concordance(time, none, time).value)
    assert math.isnan(dynamic_auroc(time, none, time, 1.5).value)
    assert math.isnan(integrated_brier([brier_at(time, ~none, time * 0, 1.5)], [1.5]).value)
    assert kaplan_meier(time, none).at(np.array([5.0]))[0] == 1


@pytest.mark.parametrize("measure", ["concordance", "auroc", "brier"])
def test_influences_give_the_spread_over_samples(measure: str) -> None:
    """The standard error of the influence agrees with the spread of the estimate over many cohorts."""
    values, errors = [], []
    for seed in range(150):
        time, event, risk = _draw(np.random.default_rng(seed), 150)
        estimate = {
            "concordance": lambda t, e, r: concordance(t, e, r),
            "auroc": lambda t, e, r: dynamic_auroc(t, e, r, 0.7),
            "brier": lambda t, e, r: brier_at(t, e, np.exp(-0.7 * np.exp(r)), 0.7),
        }[measure](time, event, risk)
        assert abs(estimate.influence.sum()) < 1e-9
        values.append(estimate.value)
        errors.append(math.sqrt((estimate.influence**2).sum()))
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.2)
