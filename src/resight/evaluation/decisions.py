"""What decisions are worth: rates of the confusion table of one label (Matthews 1975 for MCC).

A rate whose denominator is empty is undefined, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_array

from resight.evaluation.discrimination import Binary
from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import Replicates, Statistic
from resight.types import MetricValue

_UNDEFINED = {
    "accuracy": "no rows",
    "balanced_accuracy": "one class is absent",
    "sensitivity": "no positives",
    "specificity": "no negatives",
    "ppv": "nothing was called positive",
    "npv": "nothing was called negative",
    "f1": "no positives and nothing called positive",
    "mcc": "a row or column of the confusion table is empty",
}


@dataclass(frozen=True)
class Confusion:
    """Counts of one label's decisions."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


def confusion(targets: Binary, decisions: Binary) -> Confusion:
    """Count true and false decisions.

    Args:
        targets: 0 or 1.
        decisions: 0 or 1; positive where above 0.
    """
    counts = np.bincount(_cell(targets, decisions), minlength=4)
    return Confusion(int(counts[3]), int(counts[1]), int(counts[0]), int(counts[2]))


def decision_metrics(
    targets: Binary,
    decisions: Binary,
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, MetricValue]:
    """Rates of decisions.

    Args:
        targets: 0 or 1.
        decisions: 0 or 1.
        patients: number of the patient of each row.
        confidence: coverage of the intervals.

    Returns:
        accuracy, sensitivity, specificity, PPV and NPV with exact intervals (by patient where patients repeat);
        balanced accuracy, F1 and MCC without, which the bootstrap of `decision_statistic` adds.
    """
    positive, called = np.asarray(targets) > 0, np.asarray(decisions) > 0
    right, n = positive == called, len(positive)
    values: dict[str, MetricValue] = {}
    parts = {
        "accuracy": np.ones(n, dtype=bool),
        "sensitivity": positive,
        "specificity": ~positive,
        "ppv": called,
        "npv": ~called,
    }
    for name, rows in parts.items():
        owner = None if patients is None else patients[rows]
        values[name] = proportion(right[rows], owner, confidence=confidence, undefined_because=_UNDEFINED[name])
    estimates = decision_statistic(targets, decisions).estimate()
    for name in ("balanced_accuracy", "f1", "mcc"):
        defined = not np.isnan(estimates[name])
        values[name] = MetricValue(estimates[name], n=n) if defined else MetricValue.undefined(_UNDEFINED[name], n)
    return values


def decision_statistic(targets: Binary, decisions: Binary) -> Statistic:
    """The rates as a statistic of sums."""
    rows = np.arange(len(targets))
    counts = csr_array((np.ones(len(rows)), (_cell(targets, decisions), rows)), shape=(4, len(rows)))
    return Statistic(counts, _rates)


def _cell(targets: Shaped[np.ndarray, " n"], decisions: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """0 true negative, 1 false positive, 2 false negative, 3 true positive."""
    return 2 * (np.asarray(targets) > 0).astype(np.int64) + (np.asarray(decisions) > 0)


def _rates(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
    tn, fp, fn, tp = sums
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / np.sqrt(margins),
    }
