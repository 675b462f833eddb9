"""How well scores separate positives from negatives: AUROC, average precision, their curves and points on them.

AUROC is the Mann-Whitney probability with ties counted half (Hanley & McNeil 1982); AUPRC is average precision, without
interpolation (Davis & Goadrich 2006); the partial AUROC is standardised (McClish 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.sparse import csr_array

from resight.evaluation.resampling import Replicates, Statistic
from resight.types import MetricValue

Binary = Shaped[np.ndarray, " n"]
"""Targets of one label, each 0 or 1."""
Values = Float[np.ndarray, " n"]

_ROUNDING = 1e-9
"""Slack when a rate is compared with the rate asked for, so that 0.9 of 10 is 9."""


@dataclass(frozen=True)
class Curve:
    """Points of a curve.

    Attributes:
        x: horizontal coordinate.
        y: vertical coordinate.
        threshold: a score at or above this is called positive; infinity for the point where nothing is.
    """

    x: Values
    y: Values
    threshold: Values

    def thinned(self, points: int) -> Curve:
        """At most so many points, evenly along the curve, with both ends."""
        if len(self.x) <= points:
            return self
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(self.x)) + np.abs(np.diff(self.y)))])
        keep = np.unique(np.searchsorted(length, np.linspace(0, length[-1], points)).clip(0, len(self.x) - 1))
        keep[0], keep[-1] = 0, len(self.x) - 1
        return Curve(self.x[keep], self.y[keep], self.threshold[keep])


def ranking(
    targets: Binary,
    scores: Values,
    *,
    at_specificity: Sequence[float] = (),
    at_sensitivity: Sequence[float] = (),
    partial_fpr: float | None = None,
) -> Statistic:
    """AUROC, AUPRC and points on the ROC curve as a statistic of sums; only the order of the scores counts.

    Negatives need to be known only between, and tied with, the distinct scores of positives: with J of those, the sums
    are J + 1 runs of negatives between, J of negatives tied, and J of positives.

    Args:
        targets: 0 or 1, both present.
        scores: higher means more likely positive.
        at_specificity: specificities to give the best sensitivity at, as `sensitivity_at_specificity_0.9`.
        at_sensitivity: sensitivities to give the best specificity at, as `specificity_at_sensitivity_0.9`.
        partial_fpr: false positive rate up to which `partial_auroc` is taken, if at all.
    """
    positive = np.asarray(targets) > 0
    group = np.unique(-np.asarray(scores, dtype=np.float64), return_inverse=True)[1]
    positive_groups = np.unique(group[positive])
    count = len(positive_groups)
    place = np.searchsorted(positive_groups, group)
    tied = positive_groups[np.minimum(place, count - 1)] == group
    segment = np.where(positive, 2 * count + 1 + place, np.where(tied, count + 1 + place, place))
    rows = np.arange(len(segment))
    contributions = csr_array((np.ones(len(rows)), (segment, rows)), shape=(3 * count + 1, len(rows)))

    def finish(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
        between, tied, positives = sums[: count + 1], sums[count + 1 : 2 * count + 1], sums[2 * count + 1 :]
        true = np.cumsum(positives, axis=0)
        false = np.cumsum(between[:count] + tied, axis=0)
        n_positive, n_negative = true[-1], false[-1] + between[-1]
        above = np.einsum("jr,jr->r", positives, false) - 0.5 * np.einsum("jr,jr->r", positives, tied)
        called = true + false
        precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
        values = {
            "auroc": 1 - above / (n_positive * n_negative),
            "auprc": np.einsum("jr,jr->r", positives, precision) / n_positive,
        }
        values["auprc"][n_negative == 0] = np.nan
        for rate in at_specificity:
            allowed = false <= (1 - rate) * n_negative + _ROUNDING
            found = np.einsum("jr,jr->r", positives, allowed)
            values[f"sensitivity_at_specificity_{rate:g}"] = found / np.where(n_negative > 0, n_positive, np.nan)
        for rate in at_sensitivity:
            first = np.argmax(true >= rate * n_positive - _ROUNDING, axis=0)
            alarms = np.take_along_axis(false, first[None], axis=0)[0]
            values[f"specificity_at_sensitivity_{rate:g}"] = 1 - alarms / np.where(n_positive > 0, n_negative, np.nan)
        if partial_fpr is not None:
            values["partial_auroc"] = _partial(true, false, tied, positives, n_negative, partial_fpr)
        return values

    return Statistic(contributions, finish)


def why_undefined(targets: Binary) -> str:
    """Why a ranking metric of these targets is not defined; empty when it is."""
    n, positives = len(targets), int(np.sum(np.asarray(targets) > 0))
    if n == 0:
        return "no rows"
    return "" if 0 < positives < n else f"{positives} positives, {n - positives} negatives"


def auroc(targets: Binary, scores: Values, weights: Values | None = None) -> MetricValue:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counted half.

    Args:
        targets: 0 or 1.
        scores: higher means more likely positive; any monotone transform gives the same.
        weights: how often each row counts.

    Returns:
        The value without interval; undefined when one class is absent.
    """
    return _ranked(targets, scores, weights, "auroc")


def auprc(targets: Binary, scores: Values, weights: Values | None = None) -> MetricValue:
    """Average precision: precision at each positive, averaged; the prevalence for scores that say nothing.

    Args:
        targets: 0 or 1.
        scores: higher means more likely positive.
        weights: how often each row counts.

    Returns:
        The value without interval; undefined when one class is absent.
    """
    return _ranked(targets, scores, weights, "auprc")


def partial_auroc(targets: Binary, scores: Values, max_fpr: float) -> MetricValue:
    """Partial AUROC up to a false positive rate, standardised so that chance is 0.5 and perfection 1 (McClish 1989)."""
    return _ranked(targets, scores, None, "partial_auroc", partial_fpr=max_fpr)


def sensitivity_at_specificity(targets: Binary, scores: Values, specificity: float) -> MetricValue:
    """Highest sensitivity of any threshold whose specificity is at least the one asked for; 0 where none is."""
    name = f"sensitivity_at_specificity_{specificity:g}"
    return _ranked(targets, scores, None, name, at_specificity=(specificity,))


def specificity_at_sensitivity(targets: Binary, scores: Values, sensitivity: float) -> MetricValue:
    """Highest specificity of any threshold whose sensitivity is at least the one asked for."""
    name = f"specificity_at_sensitivity_{sensitivity:g}"
    return _ranked(targets, scores, None, name, at_sensitivity=(sensitivity,))


def roc_curve(targets: Binary, scores: Values) -> Curve:
    """False positive rate against sensitivity, from (0, 0) to (1, 1), a point each distinct score; NaN if undefined."""
    threshold, true, false = counts_above(targets, scores)
    with np.errstate(invalid="ignore"):
        return Curve(false / false[-1], true / true[-1], threshold)


def pr_curve(targets: Binary, scores: Values) -> Curve:
    """Sensitivity against PPV, one point a distinct score; PPV is 1 by convention where nothing is called positive."""
    threshold, true, false = counts_above(targets, scores)
    with np.errstate(invalid="ignore"):
        ppv = np.divide(true, true + false, out=np.ones(len(true)), where=true + false > 0)
        return Curve(true / true[-1], ppv, threshold)


def counts_above(targets: Binary, scores: Values) -> tuple[Values, Values, Values]:
    """Positives and negatives at or above each distinct score.

    Returns:
        Thresholds from infinity downwards, true positives and false positives at each.
    """
    values, group = np.unique(-np.asarray(scores, dtype=np.float64), return_inverse=True)
    positive = np.asarray(targets) > 0
    true = np.cumsum(np.bincount(group[positive], minlength=len(values)))
    false = np.cumsum(np.bincount(group[~positive], minlength=len(values)))
    start = np.zeros(1)
    return np.concatenate([[np.inf], -values]), np.concatenate([start, true]), np.concatenate([start, false])


def _ranked(
    targets: Binary,
    scores: Values,
    weights: Values | None,
    name: str,
    *,
    at_specificity: Sequence[float] = (),
    at_sensitivity: Sequence[float] = (),
    partial_fpr: float | None = None,
) -> MetricValue:
    reason = why_undefined(targets)
    if reason:
        return MetricValue.undefined(reason, n=len(targets))
    statistic = ranking(
        targets, scores, at_specificity=at_specificity, at_sensitivity=at_sensitivity, partial_fpr=partial_fpr
    )
    value = statistic.estimate(weights)[name]
    if np.isnan(value):
        return MetricValue.undefined("the weights leave one class only", n=len(targets))
    return MetricValue(value, n=len(targets))


def _partial(
    true: Float[np.ndarray, "J R"],
    false: Float[np.ndarray, "J R"],
    tied: Float[np.ndarray, "J R"],
    positives: Float[np.ndarray, "J R"],
    n_negative: Replicates,
    max_fpr: float,
) -> Replicates:
    """Area left of `max_fpr`: flat runs between the scores of positives, slopes where negatives are tied with them."""
    limit = max_fpr * n_negative
    end, start = np.minimum(false, limit), np.minimum(false - tied, limit)
    before = true - positives
    previous = np.concatenate([np.zeros_like(end[:1]), end[:-1]])
    rise = np.divide(end - start, tied, out=np.zeros_like(tied), where=tied > 0)
    area = np.sum(before * (start - previous) + (before + 0.5 * positives * rise) * (end - start), axis=0)
    area = (area + true[-1] * (limit - end[-1])) / (true[-1] * n_negative)
    chance = max_fpr**2 / 2
    return 0.5 * (1 + (area - chance) / (max_fpr - chance))
