"""Metrics against scikit-learn to 1e-12, also replicate by replicate."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from resight.evaluation import (
    auprc,
    auroc,
    bootstrap,
    brier,
    class_metrics,
    decision_metrics,
    log_loss,
    partial_auroc,
    patient_index,
    pr_curve,
    ranking,
    roc_curve,
    sensitivity_at_specificity,
    slope_and_intercept,
    specificity_at_sensitivity,
)
from resight.evaluation.calibration import calibration_statistic
from resight.evaluation.decisions import decision_statistic
from resight.evaluation.multiclass import class_probability_statistic

TIGHT = {"rel": 0, "abs": 1e-12}
CASES = [(seed, n, share, digits) for seed in range(4) for n, share in ((30, 0.3), (700, 0.04)) for digits in (1, 9)]


def case(seed: int, n: int, share: float, digits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.zeros(n)
    y[: max(2, int(n * share))] = 1
    rng.shuffle(y)
    scores = np.clip(rng.normal(0.4, 0.2, n) + 0.15 * y, 0.001, 0.999)
    return y, np.round(scores, digits)


@pytest.mark.parametrize(("seed", "n", "share", "digits"), CASES)
def test_ranking(seed: int, n: int, share: float, digits: int) -> None:
    y, s = case(seed, n, share, digits)
    assert auroc(y, s).value == pytest.approx(reference.roc_auc_score(y, s), **TIGHT)
    assert auprc(y, s).value == pytest.approx(reference.average_precision_score(y, s), **TIGHT)
    for fpr in (0.05, 0.1, 0.37):
        assert partial_auroc(y, s, fpr).value == pytest.approx(reference.roc_auc_score(y, s, max_fpr=fpr), **TIGHT)
    times = np.random.default_rng(seed).integers(1, 4, n).astype(float)
    assert auroc(y, s, times).value == pytest.approx(reference.roc_auc_score(y, s, sample_weight=times), **TIGHT)


@pytest.mark.parametrize(("seed", "n", "share", "digits"), CASES)
def test_curves_and_points_on_them(seed: int, n: int, share: float, digits: int) -> None:
    y, s = case(seed, n, share, digits)
    fpr, tpr, thresholds = reference.roc_curve(y, s, drop_intermediate=False)
    ours = roc_curve(y, s)
    np.testing.assert_allclose(np.stack([ours.x, ours.y, ours.threshold]), [fpr, tpr, thresholds], atol=1e-12)
    precision, recall, _ = reference.precision_recall_curve(y, s)
    curve = pr_curve(y, s)
    np.testing.assert_allclose(curve.x, recall[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.y, precision[::-1], atol=1e-12)
    for rate in (0.5, 0.82, 0.9, 0.95):
        best = tpr[1 - fpr >= rate - 1e-12].max()
        assert sensitivity_at_specificity(y, s, rate).value == pytest.approx(best, **TIGHT)
        best = (1 - fpr)[tpr >= rate - 1e-12].max()
        assert specificity_at_sensitivity(y, s, rate).value == pytest.approx(best, **TIGHT)


@pytest.mark.parametrize(("seed", "n", "share", "digits"), CASES)
def test_decisions_and_probabilities(seed: int, n: int, share: float, digits: int) -> None:
    y, p = case(seed, n, share, digits)
    called = (p >= 0.5).astype(float)
    ours = {name: value.value for name, value in decision_metrics(y, called).items()}
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(y, called), **TIGHT)
    assert ours["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, called), **TIGHT)
    assert ours["sensitivity"] == pytest.approx(reference.recall_score(y, called), **TIGHT)
    assert ours["specificity"] == pytest.approx(reference.recall_score(1 - y, 1 - called), **TIGHT)
    assert ours["f1"] == pytest.approx(reference.f1_score(y, called), **TIGHT)
    if called.any():
        assert ours["ppv"] == pytest.approx(reference.precision_score(y, called), **TIGHT)
        assert ours["mcc"] == pytest.approx(reference.matthews_corrcoef(y, called), **TIGHT)
    assert ours["npv"] == pytest.approx(reference.precision_score(1 - y, 1 - called), **TIGHT)
    assert brier(y, p).value == pytest.approx(reference.brier_score_loss(y, p), **TIGHT)
    assert log_loss(y, p).value == pytest.approx(reference.log_loss(y, p), **TIGHT)


def test_classes(rng: np.random.Generator) -> None:
    truth = rng.integers(0, 4, 300)
    probabilities = rng.dirichlet(np.ones(4), 300)
    called = probabilities.argmax(axis=1)
    ours = class_metrics(truth, called, 4)
    assert ours["accuracy"].value == pytest.approx(reference.accuracy_score(truth, called), **TIGHT)
    assert ours["balanced_accuracy"].value == pytest.approx(reference.balanced_accuracy_score(truth, called), **TIGHT)
    assert ours["cohen_kappa"].value == pytest.approx(reference.cohen_kappa_score(truth, called), **TIGHT)
    trusted = class_probability_statistic(truth, probabilities).estimate()
    assert trusted["log_loss"] == pytest.approx(reference.log_loss(truth, probabilities), **TIGHT)
    squared = np.mean(np.sum((probabilities - np.eye(4)[truth]) ** 2, axis=1))
    assert trusted["brier"] == pytest.approx(squared, **TIGHT)


def test_slope_is_that_of_a_logistic_regression() -> None:
    y, p = case(1, 700, 0.2, 9)
    x = np.log(p / (1 - p))[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y)
    found = slope_and_intercept(y, p)
    assert found["calibration_slope"].value == pytest.approx(fit.coef_[0, 0], abs=1e-5)
    shift = found["calibration_intercept"].value
    assert np.mean(1 / (1 + np.exp(-(x[:, 0] + shift)))) == pytest.approx(y.mean(), abs=1e-9)


def test_every_bootstrap_replicate(rng: np.random.Generator) -> None:
    """The draws are repeated here, and each replicate computed from rows that are really copied."""
    n, n_replicates = 400, 40
    y, p = case(3, n, 0.1, 2)
    patients, n_patients = patient_index(rng.integers(0, 90, n))
    statistics = [ranking(y, p), calibration_statistic(y, p), decision_statistic(y, p >= 0.5)]
    found = bootstrap(
        [s.by_patient(patients, n_patients) for s in statistics], n_patients, replicates=n_replicates, seed=5
    )
    draws = np.random.default_rng(5).integers(n_patients, size=(n_replicates, n_patients))
    rows_of = [np.flatnonzero(patients == k) for k in range(n_patients)]
    for replicate, drawn in enumerate(draws):
        rows = np.concatenate([rows_of[k] for k in drawn])
        expected = {
            "auroc": reference.roc_auc_score(y[rows], p[rows]),
            "auprc": reference.average_precision_score(y[rows], p[rows]),
            "brier": reference.brier_score_loss(y[rows], p[rows]),
            "log_loss": reference.log_loss(y[rows], p[rows]),
            "f1": reference.f1_score(y[rows], p[rows] >= 0.5),
            "sensitivity": reference.recall_score(y[rows], p[rows] >= 0.5),
        }
        ours = {name: values[replicate] for values_of in found for name, values in values_of.items()}
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value, **TIGHT), name
