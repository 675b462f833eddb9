"""Calibration measures on data whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from resight.evaluation import brier, brier_parts, debiased_rms_error, ece, log_loss, reliability, slope_and_intercept
from resight.evaluation.calibration import bin_index


def calibrated(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    p = rng.beta(1, 3, n)
    return (rng.random(n) < p).astype(float), p


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50), st.integers(1, 20))
def test_the_parts_of_brier_add_up(rows: list[tuple[bool, float]], bins: int) -> None:
    y, p = np.array([float(a) for a, _ in rows]), np.array([b for _, b in rows])
    for binning in ("width", "mass"):
        parts = brier_parts(y, p, bins=bins, binning=binning)
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
        assert total == pytest.approx(brier(y, p).value, abs=1e-12)


def test_ece_by_hand() -> None:
    y, p = np.array([0.0, 1, 1, 1]), np.array([0.1, 0.2, 0.9, 0.9])
    # Two bins: (0.15 against 0.5, two rows) and (0.9 against 1, two rows).
    assert ece(y, p, bins=2).value == pytest.approx((2 * 0.35 + 2 * 0.1) / 4)


def test_bins_of_equal_width_are_closed_on_the_right() -> None:
    assert bin_index(np.array([0.0, 0.1, 0.5, 0.500001, 1.0]), 2).tolist() == [0, 0, 0, 1, 1]


def test_bins_of_equal_mass_hold_as_many_rows_and_keep_ties(rng: np.random.Generator) -> None:
    p = rng.random(1000) ** 4
    assert np.bincount(bin_index(p, 10, "mass")).tolist() == [100] * 10
    tied = np.array([0.2] * 7 + [0.9] * 3)
    assert len(np.unique(bin_index(tied, 5, "mass"))) == 2


def test_debiasing_removes_what_chance_adds(rng: np.random.Generator) -> None:
    found = [(ece(*c).value, debiased_rms_error(*c).value) for c in (calibrated(rng, 300) for _ in range(40))]
    biased, debiased = np.mean(found, axis=0)
    assert biased > 0.03
    assert debiased < biased / 1.5
    y, p = calibrated(rng, 20_000)
    off = np.clip(p + 0.1, 0, 1)
    assert debiased_rms_error(y, off).value == pytest.approx(0.1, abs=0.01)


def test_planted_slope_and_intercept_are_found(rng: np.random.Generator) -> None:
    y, p = calibrated(rng, 20_000)
    right = slope_and_intercept(y, p)
    assert right["calibration_slope"].low < 1 < right["calibration_slope"].high
    assert right["calibration_intercept"].low < 0 < right["calibration_intercept"].high
    extreme = slope_and_intercept(y, expit(2 * logit(p)))
    assert extreme["calibration_slope"].value == pytest.approx(right["calibration_slope"].value / 2, abs=1e-4)
    high = slope_and_intercept(y, expit(logit(p) + 0.7))
    assert high["calibration_intercept"].value == pytest.approx(right["calibration_intercept"].value - 0.7, abs=1e-4)


def test_sandwich_by_patient_covers(rng: np.random.Generator) -> None:
    """Each patient's images share a risk the model does not know; calibrated on average, so the intercept is near 0."""
    inside, plain = 0, 0
    owner = np.repeat(np.arange(60), 10)
    for _ in range(200):
        y = (rng.random(600) < rng.beta(1, 1, 60)[owner]).astype(float)
        p = np.full(600, 0.5)
        p[::2] = 0.5 + 1e-3
        by_patient = slope_and_intercept(y, p, owner)["calibration_intercept"]
        inside += by_patient.low <= 0 <= by_patient.high
        single = slope_and_intercept(y, p)["calibration_intercept"]
        plain += single.low <= 0 <= single.high
    assert inside / 200 > 0.88
    assert plain / 200 < 0.8


def test_undefined_slopes_say_why() -> None:
    y = np.array([0.0, 0, 1, 1])
    assert (
        slope_and_intercept(y, np.full(4, 0.3))["calibration_slope"].undefined_because == "all probabilities are equal"
    )
    separated = slope_and_intercept(y, np.array([0.1, 0.2, 0.8, 0.9]))
    assert separated["calibration_slope"].undefined_because == "the probabilities separate the classes"
    assert not np.isnan(separated["calibration_intercept"].value)
    one_class = slope_and_intercept(np.ones(3), np.array([0.1, 0.2, 0.8]))
    assert one_class["calibration_intercept"].undefined_because == "3 positives, 0 negatives"
    nothing = np.zeros(0)
    for metric in (brier, log_loss, ece, debiased_rms_error):
        assert metric(nothing, nothing).undefined_because == "no rows"
    assert debiased_rms_error(y[:1], y[:1]).undefined_because == "no bin holds two rows"


def test_certain_and_wrong_is_dear_but_finite() -> None:
    y, p = np.array([1.0, 0]), np.array([0.0, 1.0])
    assert 30 < log_loss(y, p).value < 40
    assert np.isfinite(slope_and_intercept(y, p)["calibration_intercept"].value)


def test_reliability_leaves_empty_bins_away() -> None:
    y, p = np.array([0.0, 1, 1, 1]), np.array([0.05, 0.06, 0.95, 0.97])
    curve = reliability(y, p, bins=10)
    assert curve.predicted == pytest.approx([0.055, 0.96])
    assert [value.value for value in curve.observed] == [0.5, 1.0]
    assert curve.count.tolist() == [2, 2]
    assert all(value.interval == "Wilson" for value in curve.observed)
