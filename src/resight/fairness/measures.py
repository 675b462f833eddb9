"""Every metric of one label in one group, and why one is not estimable: suppression of small groups first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array, vstack

from resight.evaluation.calibration import calibration_statistic, slope_and_intercept
from resight.evaluation.delong import auroc_with_interval
from resight.evaluation.discrimination import Binary, Values, ranking
from resight.evaluation.measures import Block
from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import Replicates, Statistic
from resight.fairness.cases import AuditCases
from resight.fairness.differences import mean_by_patient
from resight.fairness.options import AuditOptions
from resight.types import MetricValue

RATES: Mapping[str, str] = {
    "sensitivity": "positives",
    "fnr": "positives",
    "specificity": "negatives",
    "fpr": "negatives",
    "ppv": "images called positive",
    "npv": "images called negative",
    "selection_rate": "images",
}
"""Rates of decisions, and what stands under their bar."""
_PROBABILITY = ("brier", "ece", "observed_minus_expected", "calibration_intercept", "calibration_slope")
METRICS = ("auroc", "auprc", *RATES, "prevalence", *_PROBABILITY)


def too_few(count: int, what: str, least: int) -> str:
    """Why something is suppressed; empty when there is enough."""
    return "" if count >= least else f"{count} {what}, fewer than {least}"


def few_patients(owner: Int[np.ndarray, " n"], what: str, least: int) -> str:
    """Why rows of these patients are not measured: ten images of one patient say little more than one."""
    return too_few(len(np.unique(owner)), f"patients with {what}", least)


def few_of_a_class(y: Binary, owner: Int[np.ndarray, " n"], least: int) -> str:
    """The same for what needs positives and negatives."""
    positive = np.asarray(y) > 0
    return few_patients(owner[positive], "positives", least) or few_patients(owner[~positive], "negatives", least)


def group_block(cases: AuditCases, column: int, members: Bool[np.ndarray, " N"], options: AuditOptions) -> list[Block]:
    """Metrics of one label in one group; what has no interval of its own waits for the bootstrap.

    Args:
        cases: the rows.
        column: which label.
        members: images of the group.
        options: suppression and confidence.
    """
    rows = members & cases.known(column)
    y = cases.targets[rows, column]
    if reason := too_few(len(y), "images", options.min_images):
        return [Block(rows, dict.fromkeys(METRICS, MetricValue.undefined(reason, len(y))))]
    owner = cases.patients[rows]
    share = proportion(y > 0, owner, confidence=options.confidence)
    blocks = [Block(rows, {"prevalence": share}), _ranked(cases, column, rows, options)]
    reason = few_of_a_class(y, owner, options.min_events)
    return [*blocks, _probable(cases, column, rows, options, reason), decided_block(cases, column, rows, options)]


def decided_block(cases: AuditCases, column: int, rows: Bool[np.ndarray, " N"], options: AuditOptions) -> Block:
    """Rates of the decisions of one label, with sums for the bootstrap."""
    called = None if cases.decisions is None else cases.decisions[:, column]
    if called is None:
        return Block(rows, dict.fromkeys(RATES, MetricValue.undefined("there are no decisions", int(rows.sum()))))
    rows = rows & ~np.isnan(called)
    y, d, owner = cases.targets[rows, column] > 0, called[rows] > 0, cases.patients[rows]
    under = {
        "positives": y,
        "negatives": ~y,
        "images called positive": d,
        "images called negative": ~d,
        "images": np.ones(len(y), dtype=bool),
    }
    success = {"sensitivity": d, "fnr": ~d, "specificity": ~d, "fpr": d, "ppv": y, "npv": ~y, "selection_rate": d}
    values: dict[str, MetricValue] = {}
    for name, what in RATES.items():
        bar = under[what]
        if reason := few_patients(owner[bar], what, options.min_events):
            values[name] = MetricValue.undefined(reason, int(bar.sum()))
        else:
            values[name] = proportion(success[name][bar], owner[bar], confidence=options.confidence)
    if len(y) == 0:
        return Block(rows, values)
    cell = 2 * y.astype(np.int64) + d
    at = np.arange(len(y))
    return Block(rows, values, Statistic(csr_array((np.ones(len(y)), (cell, at)), shape=(4, len(y))), _rates))


def _ranked(cases: AuditCases, column: int, rows: Bool[np.ndarray, " N"], options: AuditOptions) -> Block:
    y, s = cases.targets[rows, column], cases.scores[rows, column]
    owner = cases.patients[rows]
    if reason := few_of_a_class(y, owner, options.min_events):
        return Block(rows, dict.fromkeys(("auroc", "auprc"), MetricValue.undefined(reason, len(y))))
    statistic = ranking(y, s)
    auroc = auroc_with_interval(y, s, owner, confidence=options.confidence, on_logit_scale=True)
    auprc = MetricValue(statistic.estimate()["auprc"], n=len(y))
    return Block(rows, {"auroc": auroc, "auprc": auprc}, statistic)


def _probable(cases: AuditCases, column: int, rows: Bool[np.ndarray, " N"], options: AuditOptions, few: str) -> Block:
    if cases.probabilities is None:
        nothing = MetricValue.undefined("the scores are no probabilities", int(rows.sum()))
        return Block(rows, dict.fromkeys(_PROBABILITY, nothing))
    rows = rows & ~np.isnan(cases.probabilities[:, column])
    y, p, owner = cases.targets[rows, column], cases.probabilities[rows, column], cases.patients[rows]
    if len(y) == 0:
        return Block(rows, dict.fromkeys(_PROBABILITY, MetricValue.undefined("no probabilities")))
    calibration = calibration_statistic(y, p, bins=options.ece_bins)
    values = {
        name: MetricValue(value, n=len(y)) for name, value in calibration.estimate().items() if name != "log_loss"
    }
    values["observed_minus_expected"] = mean_by_patient(y - p, owner, options.confidence)
    if few:
        values |= dict.fromkeys(("calibration_intercept", "calibration_slope"), MetricValue.undefined(few, len(y)))
    else:
        values |= slope_and_intercept(y, p, owner, confidence=options.confidence)
    return Block(rows, values, _with_excess(calibration, y, p))


def _with_excess(calibration: Statistic, y: Binary, p: Values) -> Statistic:
    """The calibration statistic with one more sum, outcome less probability, and without the log loss."""
    rows = csr_array(np.asarray(y - p, dtype=np.float64)[None])
    from_calibration = calibration.finish

    def finish(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
        values = dict(from_calibration(sums[:-1]))
        del values["log_loss"]
        return values | {"observed_minus_expected": sums[-1] / sums[0]}

    return Statistic(csr_array(vstack([calibration.contributions, rows])), finish)


def _rates(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
    tn, fp, fn, tp = sums
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    return {
        "sensitivity": sensitivity,
        "fnr": 1 - sensitivity,
        "specificity": specificity,
        "fpr": 1 - specificity,
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "selection_rate": (tp + fp) / (tn + fp + fn + tp),
    }
