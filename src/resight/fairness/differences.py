"""Tests of a group against everybody else, with patients as the unit.

Intervals of a difference are built from the intervals of the two sides (Newcombe 1998, method 10; MOVER, Zou & Donner
2008). Rates are tested by the score test with sums by patient, and by Fisher's exact test on counts divided by the
design effect; the larger p counts, as the first is too sure of itself in small groups and the second knows no patients.
AUROCs are tested by DeLong's variance by patient, in small groups at least Hanley & McNeil's (1982), and the distance
of outcome and probability by its mean; both against Student's t with the smaller class for degrees of freedom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.stats import hypergeom, norm, t

from resight.evaluation.delong import auroc_with_interval, delong
from resight.evaluation.discrimination import Binary, Values
from resight.evaluation.proportions import proportion
from resight.types import MetricValue

Owners = Int[np.ndarray, " n"]
Members = Bool[np.ndarray, " n"]

_ENOUGH = 30
"""Patients with positives, and with negatives, from which DeLong's variance is taken as it is."""


@dataclass(frozen=True)
class Contrast:
    """A group against the rest.

    Attributes:
        group: the metric in the group.
        rest: the same in everybody else whose group is known.
        difference: group less rest.
        p: two-sided, not corrected; NaN where the difference is not estimable.
    """

    group: MetricValue
    rest: MetricValue
    difference: MetricValue
    p: float


def undefined_contrast(reason: str, n: int) -> Contrast:
    """A difference that cannot be estimated."""
    nothing = MetricValue.undefined(reason, n)
    return Contrast(nothing, nothing, nothing, math.nan)


def rate_contrast(success: Shaped[np.ndarray, " n"], members: Members, owner: Owners, confidence: float) -> Contrast:
    """Difference of a proportion.

    Args:
        success: true for a success; the rows under the bar only.
        members: which of them belong to the group; both sides must hold rows.
        owner: number of the patient of each row.
        confidence: coverage of the interval.
    """
    success = np.asarray(success, dtype=np.float64)
    group, rest = (
        proportion(success[rows], owner[rows], confidence=confidence, method="wilson") for rows in (members, ~members)
    )
    return Contrast(group, rest, _mover(group, rest), _rate_p(success, members, owner))


def auroc_contrast(targets: Binary, scores: Values, members: Members, owner: Owners, confidence: float) -> Contrast:
    """Difference of AUROCs; both sides must hold both classes."""
    sides: list[MetricValue] = []
    variance: list[float] = []
    fewest: list[int] = []
    for rows in (members, ~members):
        y, s, who = targets[rows], scores[rows], owner[rows]
        sides.append(auroc_with_interval(y, s, who, confidence=confidence, on_logit_scale=True))
        variance.append(float(delong(y, np.asarray(s, dtype=np.float64)[None], who).covariance[0, 0]))
        fewest.append(min(len(np.unique(who[y > 0])), len(np.unique(who[y == 0]))))
    pooled = float(np.average([side.value for side in sides], weights=[side.n for side in sides]))
    floors = [
        _hanley(pooled, targets[rows]) if holders < _ENOUGH else 0.0
        for rows, holders in zip((members, ~members), fewest, strict=True)
    ]
    error = math.sqrt(sum(max(v, floor) for v, floor in zip(variance, floors, strict=True)))
    difference = sides[0].value - sides[1].value
    p = math.nan if math.isnan(error) or min(fewest) < 2 else _student(difference, error, min(fewest) - 1)
    return Contrast(sides[0], sides[1], _mover(sides[0], sides[1]), p)


def calibration_contrast(
    targets: Binary, probabilities: Values, members: Members, owner: Owners, confidence: float
) -> Contrast:
    """Difference of how far outcomes lie above probabilities on average: `mean(target) - mean(probability)`."""
    excess = np.asarray(targets, dtype=np.float64) - probabilities
    group, rest = (mean_by_patient(excess[rows], owner[rows], confidence) for rows in (members, ~members))
    pull = np.where(members, (excess - group.value) / members.sum(), -(excess - rest.value) / (~members).sum())
    error = math.sqrt(_variance(pull, owner))
    classes = [rows & (targets == value) for rows in (members, ~members) for value in (0, 1)]
    freedom = min(len(np.unique(owner[rows])) for rows in classes) - 1
    difference = group.value - rest.value
    if error == 0 or freedom < 1:
        return Contrast(group, rest, MetricValue(difference, n=len(excess)), math.nan)
    half = float(t.isf((1 - confidence) / 2, freedom)) * error
    shown = MetricValue(difference, difference - half, difference + half, len(excess), interval="t by patient")
    return Contrast(group, rest, shown, _student(difference, error, freedom))


def mean_by_patient(values: Values, owner: Owners, confidence: float) -> MetricValue:
    """A mean with the interval of its sums by patient; without interval for a single patient."""
    mean, count = float(values.mean()), len(np.unique(owner))
    found = MetricValue(mean, n=len(values))
    if count < 2:
        return found
    error = math.sqrt(_variance((values - mean) / len(values), owner))
    half = float(t.isf((1 - confidence) / 2, count - 1)) * error
    return replace(found, low=mean - half, high=mean + half, interval="t by patient")


def benjamini_hochberg(p_values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Step-up correction that keeps the share of false discoveries (1995); NaN stays NaN and does not count."""
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: int((~np.isnan(p_values)).sum())]
    ranked = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    corrected[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return corrected


def _mover(group: MetricValue, rest: MetricValue) -> MetricValue:
    difference = group.value - rest.value
    n = group.n + rest.n
    if math.isnan(group.low) or math.isnan(rest.low):
        return MetricValue(difference, n=n)
    below = math.hypot(group.value - group.low, rest.high - rest.value)
    above = math.hypot(group.high - group.value, rest.value - rest.low)
    return MetricValue(difference, difference - below, difference + above, n, interval="MOVER by patient")


def _rate_p(success: Values, members: Members, owner: Owners) -> float:
    n_group, n_rest = int(members.sum()), int((~members).sum())
    share = float(success.mean())
    if share in (0.0, 1.0):
        return 1.0
    pull = np.where(members, 1 / n_group, -1 / n_rest) * (success - share)
    independent = share * (1 - share) * (1 / n_group + 1 / n_rest)
    clustered = _variance(pull, owner)
    difference = float(success[members].mean() - success[~members].mean())
    by_score = 2 * float(norm.sf(abs(difference) / math.sqrt(max(clustered, independent))))
    return max(by_score, _fisher(success, members, max(1.0, clustered / independent)))


def _fisher(success: Values, members: Members, design_effect: float) -> float:
    """Twice the smaller tail of the hypergeometric distribution; the same whichever side is called the group."""
    sides = [(int(rows.sum()), float(success[rows].sum())) for rows in (members, ~members)]
    (n_group, hits), (n_rest, others) = [tuple(round(count / design_effect) for count in side) for side in sides]
    low = float(hypergeom.cdf(hits, n_group + n_rest, hits + others, n_group))
    high = float(hypergeom.sf(hits - 1, n_group + n_rest, hits + others, n_group))
    return min(1.0, 2 * min(low, high))


def _variance(pull: Values, owner: Owners) -> float:
    sums = np.bincount(owner, pull)
    count = int((np.bincount(owner) > 0).sum())
    return count / max(count - 1, 1) * float(sums @ sums)


def _hanley(auroc: float, targets: Binary) -> float:
    positives = int(np.sum(np.asarray(targets) > 0))
    negatives = len(targets) - positives
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    return (auroc * (1 - auroc) + spread) / (positives * negatives)


def _student(difference: float, error: float, freedom: int) -> float:
    if error == 0:
        return 1.0 if difference == 0 else math.nan
    return 2 * float(t.sf(abs(difference) / error, freedom))
