"""Edge cases of the AUROC interval; values and coverage are held in `tests/oracles`."""

from __future__ import annotations

import numpy as np
import pytest

from resight.evaluation import auroc_with_interval
from resight.evaluation.delong import paired_difference


def test_perfect_separation_does_not_claim_certainty() -> None:
    y = np.repeat([0.0, 1.0], [40, 5])
    value = auroc_with_interval(y, y)
    assert (value.value, value.high) == (1.0, 1.0)
    assert 0.6 < value.low < 0.95
    assert value.interval.startswith("Newcombe")
    turned = auroc_with_interval(y, -y)
    assert (turned.low, turned.high) == pytest.approx((0.0, 1 - value.low))


def test_repeated_patients_widen_the_interval_and_are_named(rng: np.random.Generator) -> None:
    y = np.repeat(rng.integers(0, 2, 20), 10).astype(float)
    s = np.repeat(rng.normal(size=20), 10) + 0.8 * y + rng.normal(0, 0.1, 200)
    owner = np.repeat(np.arange(20), 10)
    plain, by_patient = auroc_with_interval(y, s), auroc_with_interval(y, s, owner)
    assert plain.interval == "DeLong"
    assert by_patient.interval == "DeLong by patient"
    assert by_patient.high - by_patient.low > 2 * (plain.high - plain.low)
    assert auroc_with_interval(y, s, np.arange(200)) == plain


def test_one_patient_with_all_positives_gives_no_interval(rng: np.random.Generator) -> None:
    y = np.array([1.0, 1, 0, 0, 0])
    value = auroc_with_interval(y, rng.normal(size=5), np.array([0, 0, 1, 2, 3]))
    assert np.isnan(value.low)
    assert value.interval == ""


def test_logit_scale_stays_inside_and_keeps_the_value() -> None:
    y = np.repeat([0.0, 1.0], [30, 4])
    s = np.concatenate([np.arange(30.0), [28.5, 40, 41, 42]])
    plain, logit = auroc_with_interval(y, s), auroc_with_interval(y, s, on_logit_scale=True)
    assert plain.value == logit.value
    assert plain.high == 1.0
    assert logit.high < 1.0
    assert logit.interval == "DeLong, logit"


def test_one_class_says_why() -> None:
    value = auroc_with_interval(np.zeros(3), np.arange(3.0))
    assert value.undefined_because == "0 positives, 3 negatives"


def test_a_perfect_model_differs_from_a_constant_one_though_neither_varies() -> None:
    y = np.repeat([0.0, 1.0], [12, 6])
    value, p = paired_difference(y, np.stack([np.zeros(18), y]))
    assert value.value == 0.5
    assert 0 < value.low < 0.5 < value.high <= 1
    assert p == pytest.approx(2 * 0.5**6)
    turned, same_p = paired_difference(y, np.stack([y, np.zeros(18)]))
    assert (turned.low, turned.high, same_p) == pytest.approx((-value.high, -value.low, p))
    same, p = paired_difference(y, np.stack([y, y]))
    assert (same.value, p) == (0, 1)


def test_images_of_one_patient_are_one_witness() -> None:
    y = np.repeat([0.0, 1.0], [12, 12])
    owner = np.concatenate([np.arange(12), np.repeat([12, 13, 14], 4)])
    assert paired_difference(y, np.stack([1 - y, y]), owner)[1] == pytest.approx(2 * 0.5**3)
    value, p = paired_difference(y, np.stack([1 - y, y]), np.concatenate([np.arange(12), np.full(12, 12)]))
    assert value.value == 1
    assert np.isnan([value.low, p]).all()
