"""Draws of patients and percentile intervals; replicates are held in `tests/oracles`."""

from __future__ import annotations

import numpy as np
import pytest

from resight.evaluation import bootstrap, patient_index, ranking, with_percentiles
from resight.evaluation.calibration import calibration_statistic
from resight.types import MetricValue


def sample(rng: np.random.Generator, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = (rng.random(n) < 0.3).astype(float)
    return y, rng.normal(size=n) + y, rng.integers(0, 30, n)


def test_the_order_of_rows_and_the_type_of_names_do_not_count(rng: np.random.Generator) -> None:
    y, s, owner = sample(rng)
    index, count = patient_index(owner)
    base = bootstrap([ranking(y, s).by_patient(index, count)], count, replicates=50, seed=1)[0]
    order = rng.permutation(len(y))
    names = np.array([str(k) for k in owner[order]], dtype=object)
    index, count = patient_index(names)
    other = bootstrap([ranking(y[order], s[order]).by_patient(index, count)], count, replicates=50, seed=1)[0]
    for name, values in base.items():
        np.testing.assert_allclose(other[name], values, atol=1e-12)


def test_same_seed_same_draws_and_the_first_replicates_do_not_depend_on_how_many(rng: np.random.Generator) -> None:
    y, s, owner = sample(rng)
    statistic = ranking(y, s).by_patient(*patient_index(owner))
    count = patient_index(owner)[1]
    few, many = (bootstrap([statistic], count, replicates=r, seed=3)[0]["auroc"] for r in (10, 70))
    np.testing.assert_array_equal(few, many[:10])
    assert not np.array_equal(few, bootstrap([statistic], count, replicates=10, seed=4)[0]["auroc"])


def test_a_replicate_without_positives_is_not_a_number(rng: np.random.Generator) -> None:
    y, s = np.array([1.0, 0, 0, 0]), rng.normal(size=4)
    statistic = ranking(y, s, at_specificity=(0.9,), at_sensitivity=(0.9,), partial_fpr=0.1)
    drawn = bootstrap([statistic.by_patient(np.arange(4), 4)], 4, replicates=200, seed=0)[0]
    missing = np.isnan(drawn["auroc"])
    assert 0.2 < missing.mean() < 0.45  # (3/4)^4 = 0.32 of the draws miss the only positive, few all negatives
    for values in drawn.values():
        np.testing.assert_array_equal(np.isnan(values), missing)


def test_one_patient_says_nothing_of_others(rng: np.random.Generator) -> None:
    statistic = ranking(np.repeat([0.0, 1.0], 10), rng.normal(size=20)).by_patient(np.zeros(20, dtype=int), 1)
    (drawn,) = bootstrap([statistic], 1, replicates=20, seed=0)
    value = with_percentiles(MetricValue(0.7, n=20), drawn["auroc"], 0.95)
    assert (value.value, value.interval) == (0.7, "")
    assert np.isnan(value.low)


def test_percentiles() -> None:
    values = np.arange(1001) / 1000
    found = with_percentiles(MetricValue(0.5, n=9), values, 0.9)
    assert (found.low, found.high) == pytest.approx((0.05, 0.95))
    assert found.interval == "bootstrap by patient"
    nowhere = MetricValue.undefined("no positives")
    assert with_percentiles(nowhere, values, 0.9) == nowhere
    rarely_defined = np.where(np.arange(1001) < 400, values, np.nan)
    assert np.isnan(with_percentiles(MetricValue(0.5), rarely_defined, 0.9).low)


def test_bootstrap_by_patient_covers_where_images_repeat() -> None:
    """300 studies of 50 patients with 8 images; the interval by image would be too narrow."""
    rng = np.random.default_rng(2)
    inside = {"patient": 0, "image": 0}
    for _ in range(300):
        risk = np.clip(rng.normal(0.5, 0.2, 50), 0, 1)
        owner = np.repeat(np.arange(50), 8)
        y = (rng.random(400) < risk[owner]).astype(float)
        statistic = calibration_statistic(y, np.full(400, 0.3))
        truth = 0.5 * 0.7**2 + 0.5 * 0.3**2
        for kind, index in (("patient", owner), ("image", np.arange(400))):
            count = int(index.max()) + 1
            drawn = bootstrap([statistic.by_patient(index, count)], count, replicates=200, seed=0)[0]["brier"]
            value = with_percentiles(MetricValue(statistic.estimate()["brier"]), drawn, 0.95)
            inside[kind] += value.low <= truth <= value.high
    assert inside["patient"] / 300 > 0.89
    assert inside["image"] / 300 < 0.87
