"""Planted temperatures are found, and no fit makes the data it was fitted on worse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

from resight.errors import SettingsError
from resight.evaluation import Calibration, CalibrationMethod, LabelCalibration, ece, fit_calibration, log_loss

METHODS: tuple[CalibrationMethod, ...] = ("none", "temperature", "platt", "isotonic")


def binary(rng: np.random.Generator, n: int = 6000, labels: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = rng.normal(-1, 2, (n, labels))
    y = (rng.random((n, labels)) < expit(z)).astype(float)
    return z, y, np.ones((n, labels), dtype=bool)


def classes(rng: np.random.Generator, n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = rng.normal([0.5, 0.0, -1.0], 2, (n, 3))
    p = softmax(z, axis=1)
    drawn = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return z, np.eye(3)[drawn], np.ones((n, 3), dtype=bool)


def test_planted_temperature_is_found_per_label(rng: np.random.Generator) -> None:
    z, y, mask = binary(rng, labels=2)
    found = fit_calibration(z * [3.0, 0.5], y, mask, "multilabel", "temperature")
    assert [1 / label.scale for label in found.labels] == pytest.approx([3.0, 0.5], rel=0.08)
    assert found.apply(z * [3.0, 0.5]) == pytest.approx(expit(z), abs=0.03)


def test_planted_temperature_of_classes_is_one_number(rng: np.random.Generator) -> None:
    z, y, mask = classes(rng)
    found = fit_calibration(2.5 * z, y, mask, "multiclass", "temperature")
    assert {label.scale for label in found.labels} == {found.labels[0].scale}
    assert 1 / found.labels[0].scale == pytest.approx(2.5, rel=0.06)
    assert found.apply(2.5 * z).sum(axis=1) == pytest.approx(1)


def test_planted_scale_and_shift_are_found(rng: np.random.Generator) -> None:
    z, y, mask = binary(rng)
    found = fit_calibration((z - 1.5) / 0.4, y, mask, "binary", "platt").labels[0]
    assert (found.scale, found.bias) == pytest.approx((0.4, 1.5), rel=0.1)
    z, y, mask = classes(rng)
    shifted = fit_calibration(2 * z + [3.0, 0, 0], y, mask, "multiclass", "platt")
    assert [label.scale for label in shifted.labels] == pytest.approx([0.5] * 3, rel=0.1)
    biases = np.array([label.bias for label in shifted.labels])
    assert biases - biases[1] == pytest.approx([-1.5, 0, 0], abs=0.15)


def test_isotonic_mends_what_no_line_can_and_stays_off_the_ends(rng: np.random.Generator) -> None:
    z, y, mask = binary(rng)
    bent = np.sign(z) * np.abs(z) ** 3
    found = fit_calibration(bent, y, mask, "binary", "isotonic")
    fresh, outcome, _ = binary(rng)
    p = found.apply(np.sign(fresh) * np.abs(fresh) ** 3)
    assert 0 < p.min() < p.max() < 1
    assert ece(outcome[:, 0], p[:, 0]).value < 0.03
    order = np.argsort(fresh[:, 0])
    assert (np.diff(p[order, 0]) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_never_worse_on_the_data_of_the_fit_and_json_keeps_it(
    rng: np.random.Generator, method: CalibrationMethod, task: str
) -> None:
    z, y, mask = classes(rng, 900) if task == "multiclass" else binary(rng, 900, 1 if task == "binary" else 3)
    z = 4 * z + 1
    found = fit_calibration(z, y, mask, task, method)
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    np.testing.assert_array_equal(again.apply(z), found.apply(z))
    p = found.apply(z)
    if task == "multiclass":
        before = -np.mean(np.sum(log_softmax(z, axis=1) * y, axis=1))
        assert -np.mean(np.log(p[y > 0])) <= before + 1e-12
    else:
        for k in range(z.shape[1]):
            label = found.labels[k]
            assert label.log_loss_after == pytest.approx(log_loss(y[:, k], p[:, k]).value, abs=1e-9)
            assert label.log_loss_before == pytest.approx(np.mean(np.logaddexp(0, z[:, k]) - y[:, k] * z[:, k]))
            assert label.log_loss_after <= label.log_loss_before
    assert {label.method for label in found.labels} == {method}
    assert all(label.note == "" for label in found.labels)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(-800, 800)), min_size=1, max_size=60),
    st.sampled_from(METHODS),
    st.data(),
)
def test_any_logits_give_finite_probabilities_and_never_a_higher_loss(
    rows: list[tuple[bool, float]], method: CalibrationMethod, data: st.DataObject
) -> None:
    y, z = np.array([[float(a)] for a, _ in rows]), np.array([[b] for _, b in rows])
    y, z = np.tile(y, (8, 1)), np.tile(z, (8, 1))  # enough of both classes for every method
    found = fit_calibration(z, y, np.ones(y.shape, dtype=bool), "binary", method)
    label = found.labels[0]
    assert label.log_loss_after is not None
    assert label.log_loss_before is not None
    assert label.log_loss_after <= label.log_loss_before
    p = found.apply(z)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


def test_too_few_positives_fall_back_and_say_so(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(500, 1)), np.zeros((500, 1))
    y[:20] = 1
    mask = np.ones(y.shape, dtype=bool)
    label = fit_calibration(z, y, mask, "binary", "isotonic").labels[0]
    assert label.note.startswith("isotonic needs 50 positives and negatives, there are 20")
    assert label.knots == ()
    y[3:] = 0
    label = fit_calibration(z, y, mask, "binary", "platt").labels[0]
    assert (label.method, label.positives, label.negatives) == ("none", 3, 497)
    assert label.note == "platt needs 10 positives and negatives, there are 3"
    empty = fit_calibration(z, y, np.zeros(y.shape, dtype=bool), "binary", "temperature").labels[0]
    assert (empty.method, empty.log_loss_before) == ("none", None)


def test_a_model_that_is_wrong_way_round_is_not_turned(rng: np.random.Generator) -> None:
    z, y, mask = binary(rng, 400)
    label = fit_calibration(-z, y, mask, "binary", "platt").labels[0]
    assert label.method == "none"
    assert label.note == "platt would turn the ranking round; none kept"


def test_separated_classes_stay_finite(rng: np.random.Generator) -> None:
    y = np.repeat([[0.0], [1.0]], 60, axis=0)
    mask = np.ones(y.shape, dtype=bool)
    for method in METHODS:
        p = fit_calibration(2 * y - 1, y, mask, "binary", method).apply(2 * y - 1)
        assert ((p > 0) & (p < 1)).all()
    z = 3 * np.eye(3)[np.arange(90) % 3]
    mask = np.ones(z.shape, dtype=bool)
    for method in METHODS:
        p = fit_calibration(z, z / 3, mask, "multiclass", method).apply(z)
        assert ((p > 0) & (p < 1)).all(), method


def test_rows_that_do_not_count_do_not_count(rng: np.random.Generator) -> None:
    z, y, mask = binary(rng, 500)
    clean = fit_calibration(z, y, mask, "binary", "platt")
    more = np.concatenate([z, [[1e9], [np.nan], [5.0]]])
    targets = np.concatenate([y, [[0.0], [1.0], [0.5]]])
    use = np.concatenate([mask, [[False], [True], [True]]])
    assert fit_calibration(more, targets, use, "binary", "platt") == clean
    assert np.isnan(clean.apply(np.array([[np.nan]]))).all()


def test_wrong_shapes_and_knots_are_refused() -> None:
    one = Calibration(task="binary", labels=(LabelCalibration(),))
    with pytest.raises(SettingsError, match=r"expected \(N, 1\)"):
        one.apply(np.zeros((3, 2)))
    with pytest.raises(SettingsError, match="equal shapes"):
        fit_calibration(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 2), dtype=bool), "binary")
    with pytest.raises(SettingsError, match="knots must rise"):
        Calibration.from_dict({"task": "binary", "labels": [{"knots": [[0.2, 0.1], [0.2, 0.3]]}]})
