"""What the most likely class is worth, and the probabilities of all classes together (Cohen 1960 for kappa)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from resight.evaluation.calibration import Binning, bin_index, loss_statistic
from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import Replicates, Statistic
from resight.types import MetricValue, Scores

_EPSILON = float(np.finfo(np.float64).eps)


def class_statistic(targets: Int[np.ndarray, " n"], called: Int[np.ndarray, " n"], n_classes: int) -> Statistic:
    """Accuracy, balanced accuracy and Cohen's kappa of the most likely class.

    Args:
        targets: index of the class of each row.
        called: index of the class called.
        n_classes: C; the balanced accuracy averages over the classes that occur.
    """
    rows = np.arange(len(targets))
    cells = csr_array((np.ones(len(rows)), (targets * n_classes + called, rows)), shape=(n_classes**2, len(rows)))

    def finish(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
        table = sums.reshape(n_classes, n_classes, -1)
        hits = np.einsum("ccr->cr", table)
        actual, predicted = table.sum(axis=1), table.sum(axis=0)
        n = actual.sum(axis=0)
        present = actual > 0
        recall = np.divide(hits, actual, out=np.zeros_like(hits), where=present)
        observed, expected = hits.sum(axis=0) / n, np.sum(actual * predicted, axis=0) / n**2
        return {
            "accuracy": observed,
            "balanced_accuracy": recall.sum(axis=0) / present.sum(axis=0),
            "cohen_kappa": (observed - expected) / np.where(expected < 1, 1 - expected, np.nan),
        }

    return Statistic(cells, finish)


def class_metrics(
    targets: Int[np.ndarray, " n"],
    called: Int[np.ndarray, " n"],
    n_classes: int,
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, MetricValue]:
    """Accuracy with its exact interval, balanced accuracy and kappa; the arguments of `class_statistic`."""
    n = len(targets)
    estimates = class_statistic(targets, called, n_classes).estimate()
    values = {"accuracy": proportion(targets == called, patients, confidence=confidence)}
    for name, reason in (("balanced_accuracy", "no rows"), ("cohen_kappa", "agreement by chance is already complete")):
        defined = not np.isnan(estimates[name])
        values[name] = MetricValue(estimates[name], n=n) if defined else MetricValue.undefined(reason, n)
    return values


def class_probability_statistic(
    targets: Int[np.ndarray, " n"], probabilities: Scores, *, bins: int = 15, binning: Binning = "width"
) -> Statistic:
    """Brier score (summed over classes), log loss, and calibration error of the most likely class.

    Args:
        targets: index of the class of each row.
        probabilities: `(n, C)`, each row summing to 1.
        bins: of the calibration error.
        binning: equal width or equal mass.
    """
    n, rows = len(targets), np.arange(len(targets))
    squared = np.sum((probabilities - np.eye(probabilities.shape[1])[targets]) ** 2, axis=1)
    loss = -np.log(np.maximum(probabilities[rows, targets], _EPSILON))
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    plain = csr_array(np.stack([np.ones(n), squared, loss]))
    gap = csr_array((top - right, (bin_index(top, bins, binning), rows)), shape=(bins, n))

    return loss_statistic(plain, gap)
