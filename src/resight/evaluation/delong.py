"""Variance of AUROCs without resampling, from how often each image wins.

DeLong, DeLong & Clarke-Pearson 1988 for the variance and the covariance of models on the same images; Sun & Xu 2014 for
midranks, O(n log n); Obuchowski 1997 for several images of one patient, equal to DeLong where each patient has one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import root_scalar
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from resight.evaluation.discrimination import Binary, Values, why_undefined
from resight.types import MetricValue


@dataclass(frozen=True)
class AurocVariance:
    """AUROCs of M models on the same images.

    Attributes:
        auroc: one a model.
        covariance: of the AUROCs; NaN where fewer than two patients hold positives, or negatives.
    """

    auroc: Float[np.ndarray, " M"]
    covariance: Float[np.ndarray, "M M"]


def delong(
    targets: Binary, scores: Float[np.ndarray, "M n"], patients: Int[np.ndarray, " n"] | None = None
) -> AurocVariance:
    """AUROCs and their covariance.

    Args:
        targets: 0 or 1, both present.
        scores: one row a model, the same images in the same order.
        patients: number of the patient of each image; each image its own patient when not given.
    """
    positive = np.asarray(targets) > 0
    m, n = int(positive.sum()), int((~positive).sum())
    among_all = rankdata(scores, axis=1)
    wins = (among_all[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    losses = 1 - (among_all[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    auroc = wins.mean(axis=1)
    if patients is None:
        patients = np.arange(len(positive))
    _, owner = np.unique(patients, return_inverse=True)
    count = int(owner.max()) + 1
    holders = [len(np.unique(owner[rows])) for rows in (positive, ~positive)]
    if min(holders) < 2:
        return AurocVariance(auroc, np.full((len(auroc),) * 2, np.nan))
    of_positives = _sums(wins - auroc[:, None], owner[positive], count)
    of_negatives = _sums(losses - auroc[:, None], owner[~positive], count)
    crossed = of_positives @ of_negatives.T
    covariance = (
        holders[0] / (holders[0] - 1) * (of_positives @ of_positives.T) / m**2
        + holders[1] / (holders[1] - 1) * (of_negatives @ of_negatives.T) / n**2
        + count / (count - 1) * (crossed + crossed.T) / (m * n)
    )
    return AurocVariance(auroc, covariance)


def auroc_with_interval(
    targets: Binary,
    scores: Values,
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    confidence: float = 0.95,
    on_logit_scale: bool = False,
) -> MetricValue:
    """AUROC with DeLong's interval, by patient where patients repeat.

    Where the variance is zero (perfect separation) DeLong says nothing; Newcombe's interval (2006, part 2, method 5)
    stands in, with patients for images.

    Args:
        targets: 0 or 1.
        scores: higher means more likely positive.
        patients: number of the patient of each image.
        confidence: coverage of the interval.
        on_logit_scale: build the interval on the logit of the AUROC (Pepe 2003), which keeps it inside 0 to 1; cut off
            at 0 and 1 otherwise.

    Returns:
        The value; undefined when one class is absent, without interval when one patient holds all positives or all
        negatives.
    """
    reason = why_undefined(targets)
    if reason:
        return MetricValue.undefined(reason, n=len(targets))
    found = delong(targets, np.asarray(scores, dtype=np.float64)[None], patients)
    auroc, variance = float(found.auroc[0]), float(found.covariance[0, 0])
    value = MetricValue(auroc, n=len(targets))
    if math.isnan(variance):
        return value
    name = "DeLong" if patients is None or len(np.unique(patients)) == len(targets) else "DeLong by patient"
    if variance <= np.finfo(float).eps or auroc in (0.0, 1.0):
        low, high = _newcombe(auroc, *_holders(targets, patients), confidence)
        return replace(value, low=low, high=high, interval="Newcombe (DeLong's variance is 0)")
    half = float(norm.isf((1 - confidence) / 2)) * math.sqrt(variance)
    if on_logit_scale:
        centre, half = logit(auroc), half / (auroc * (1 - auroc))
        return replace(
            value, low=float(expit(centre - half)), high=float(expit(centre + half)), interval=f"{name}, logit"
        )
    return replace(value, low=max(0.0, auroc - half), high=min(1.0, auroc + half), interval=name)


def paired_difference(
    targets: Binary,
    scores: Float[np.ndarray, "2 n"],
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    confidence: float = 0.95,
) -> tuple[MetricValue, float]:
    """AUROC of the second scores less that of the first on the same images, and whether that is chance.

    Args:
        targets: 0 or 1.
        scores: of both models, or of one model on two versions of the images.
        patients: number of the patient of each image; each image its own patient when not given.
        confidence: coverage of the interval.

    Where the AUROCs differ and DeLong's variance is 0 (one model perfect, the other constant or perfectly wrong), every
    patient speaks alike for one model: p is that of a sign test over the patients of the scarcer class, and the
    interval is put together from Newcombe's intervals of both (Zou & Donner 2008), as if they were independent.

    Returns:
        The difference, undefined when one class is absent and without interval when one patient holds all of a class;
        and the two-sided p that it is 0, NaN in both cases.
    """
    if reason := why_undefined(targets):
        return MetricValue.undefined(reason, n=len(targets)), math.nan
    found = delong(targets, scores, patients)
    variance = float(found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1])
    difference = float(found.auroc[1] - found.auroc[0])
    value = MetricValue(difference, n=len(targets))
    if math.isnan(variance) or (variance <= np.finfo(float).eps and difference == 0):
        return value, 1.0 if difference == 0 else math.nan
    if variance <= np.finfo(float).eps:
        holders = _holders(targets, patients)
        (a, low_a, high_a), (b, low_b, high_b) = (
            (auroc, *_newcombe(auroc, *holders, confidence)) for auroc in found.auroc.tolist()
        )
        low, high = difference - math.hypot(b - low_b, high_a - a), difference + math.hypot(high_b - b, a - low_a)
        value = replace(value, low=max(-1.0, low), high=min(1.0, high), interval="Newcombe (DeLong's variance is 0)")
        return value, 2.0 ** (1 - min(holders))
    error = math.sqrt(variance)
    half = float(norm.isf((1 - confidence) / 2)) * error
    value = replace(value, low=difference - half, high=difference + half, interval="paired DeLong")
    return value, float(2 * norm.sf(abs(difference) / error))


def _sums(values: Float[np.ndarray, "M n"], owner: Int[np.ndarray, " n"], count: int) -> Float[np.ndarray, "M P"]:
    return np.stack([np.bincount(owner, row, minlength=count) for row in values])


def _holders(targets: Binary, patients: Int[np.ndarray, " n"] | None) -> tuple[int, int]:
    positive = np.asarray(targets) > 0
    owner = np.arange(len(positive)) if patients is None else patients
    return len(np.unique(owner[positive])), len(np.unique(owner[~positive]))


def _newcombe(auroc: float, positives: int, negatives: int, confidence: float) -> tuple[float, float]:
    """AUROCs that a score test with Hanley & McNeil's variance does not refuse."""
    z = float(norm.isf((1 - confidence) / 2))
    middle = (positives + negatives) / 2 - 1

    def beyond(theta: float) -> float:
        spread = 1 + middle * (1 - theta) / (2 - theta) + middle * theta / (1 + theta)
        return abs(theta - auroc) - z * math.sqrt(theta * (1 - theta) * spread / (positives * negatives))

    low = 0.0 if auroc == 0 else root_scalar(beyond, bracket=(0.0, auroc * (1 - 1e-12))).root
    high = 1.0 if auroc == 1 else root_scalar(beyond, bracket=(auroc + (1 - auroc) * 1e-12, 1.0)).root
    return low, high
