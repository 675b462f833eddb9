"""How far probabilities can be taken at their word: Brier, log loss, calibration error, slope and intercept.

Brier 1950; Murphy 1973 with the within-bin terms of Stephenson et al. 2008, so that the parts add up exactly;
calibration error after Guo et al. 2017, debiased after Kumar et al. 2019; slope and intercept after Cox 1958 and Van
Calster et al. 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array, vstack
from scipy.special import expit, logit
from scipy.stats import norm

from resight.evaluation.discrimination import Binary, Values, why_undefined
from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import Replicates, Statistic
from resight.types import MetricValue

Binning = Literal["width", "mass"]

_EPSILON = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 in the log loss, so that one wrong certainty is not infinite."""
_LOGIT_LIMIT = 1e-7
"""The same for slope and intercept, where a logit of 36 would rule the fit alone; about float32 resolution."""


@dataclass(frozen=True)
class Reliability:
    """Bins of a reliability curve; empty bins are left away.

    Attributes:
        predicted: mean probability of each bin.
        observed: share of positives, with its Wilson interval (by patient where patients repeat).
        count: rows.
    """

    predicted: Values
    observed: tuple[MetricValue, ...]
    count: Int[np.ndarray, " b"]


@dataclass(frozen=True)
class BrierParts:
    """Parts of a Brier score: `reliability - resolution + uncertainty + within_bins` is the score."""

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


def bin_index(probabilities: Values, bins: int, binning: Binning = "width") -> Int[np.ndarray, " n"]:
    """Bin of each row: right-closed bins of equal width, or of equal mass with ties kept together."""
    if binning == "width":
        return np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1)
    last_of_bin = np.arange(1, bins) * len(probabilities) // bins - 1
    edges = np.sort(probabilities)[last_of_bin[last_of_bin >= 0]]
    return np.searchsorted(edges, probabilities, side="left")


def calibration_statistic(
    targets: Binary, probabilities: Values, *, bins: int = 15, binning: Binning = "width"
) -> Statistic:
    """Brier score, log loss and expected calibration error as a statistic of sums; replicates keep the bins.

    Args:
        targets: 0 or 1.
        probabilities: in [0, 1].
        bins: number of bins of the calibration error.
        binning: equal width or equal mass.
    """
    y, p = np.asarray(targets, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    rows, index = np.arange(len(y)), bin_index(p, bins, binning)
    plain = csr_array(np.stack([np.ones(len(y)), (p - y) ** 2, _row_loss(y, p)]))
    gap = csr_array((p - y, (index, rows)), shape=(bins, len(y)))

    return loss_statistic(plain, gap)


def loss_statistic(plain: csr_array, gap: csr_array) -> Statistic:
    """Brier score, log loss and calibration error from sums over samples.

    Args:
        plain: three rows: ones, squared errors and log losses.
        gap: one row for each bin, with probability less outcome of the samples in it.
    """

    def finish(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
        n = sums[0]
        return {"brier": sums[1] / n, "log_loss": sums[2] / n, "ece": np.abs(sums[3:]).sum(axis=0) / n}

    return Statistic(csr_array(vstack([plain, gap])), finish)


def brier(targets: Binary, probabilities: Values) -> MetricValue:
    """Mean squared distance of probability and outcome; undefined without rows."""
    return _mean((np.asarray(probabilities, dtype=np.float64) - targets) ** 2)


def log_loss(targets: Binary, probabilities: Values) -> MetricValue:
    """Mean negative log-likelihood in nats, probabilities kept 2e-16 from 0 and 1; undefined without rows."""
    y, p = np.asarray(targets, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    return _mean(_row_loss(y, p))


def ece(targets: Binary, probabilities: Values, *, bins: int = 15, binning: Binning = "width") -> MetricValue:
    """Expected calibration error: distance of mean probability and share of positives, averaged over the rows' bins.

    Biased upwards on small samples, and so is its bootstrap; `debiased_rms_error` is not.

    Args:
        targets: 0 or 1.
        probabilities: of the positive class, in [0, 1].
        bins: how many.
        binning: equal width or equal mass.
    """
    if len(targets) == 0:
        return MetricValue.undefined("no rows")
    statistic = calibration_statistic(targets, probabilities, bins=bins, binning=binning)
    return MetricValue(statistic.estimate()["ece"], n=len(targets))


def debiased_rms_error(
    targets: Binary, probabilities: Values, *, bins: int = 15, binning: Binning = "mass"
) -> MetricValue:
    """Root mean squared calibration error of bins less what chance alone would give (Kumar et al. 2019).

    Bins of one row are left out, since they say nothing of their own spread; 0 where chance explains all.
    """
    y, p = np.asarray(targets, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if len(y) == 0:
        return MetricValue.undefined("no rows")
    n, mean_p, mean_y = _by_bin(y, p, bin_index(p, bins, binning))
    usable = n > 1
    if not usable.any():
        return MetricValue.undefined("no bin holds two rows", n=len(y))
    n, mean_p, mean_y = n[usable], mean_p[usable], mean_y[usable]
    squared = np.sum(n * ((mean_p - mean_y) ** 2 - mean_y * (1 - mean_y) / (n - 1))) / n.sum()
    return MetricValue(math.sqrt(max(0.0, float(squared))), n=int(n.sum()))


def brier_parts(targets: Binary, probabilities: Values, *, bins: int = 15, binning: Binning = "width") -> BrierParts:
    """Take a Brier score apart.

    Args:
        targets: 0 or 1; at least one row.
        probabilities: in [0, 1].
        bins: how many.
        binning: equal width or equal mass.

    Returns:
        Reliability (0 is best), resolution (more is better), uncertainty of the outcome, and what varies inside bins.
    """
    y, p = np.asarray(targets, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    index = bin_index(p, bins, binning)
    n, mean_p, mean_y = _by_bin(y, p, index)
    place = np.searchsorted(np.unique(index), index)
    spread, joint = p - mean_p[place], y - mean_y[place]
    share, overall = n / len(y), float(y.mean())
    return BrierParts(
        reliability=float(share @ (mean_p - mean_y) ** 2),
        resolution=float(share @ (mean_y - overall) ** 2),
        uncertainty=overall * (1 - overall),
        within_bins=float(np.mean(spread**2) - 2 * np.mean(spread * joint)),
    )


def slope_and_intercept(
    targets: Binary,
    probabilities: Values,
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, MetricValue]:
    """Calibration slope (1 is right) and calibration-in-the-large (0 is right), with sandwich intervals by patient.

    The slope is that of a logistic regression of the outcome on the logit of the probability: below 1 the probabilities
    are too extreme. The intercept is that of a logistic regression with the slope held at 1: below 0 they are too high.

    Args:
        targets: 0 or 1.
        probabilities: in [0, 1]; kept 1e-7 from the ends.
        patients: number of the patient of each row.
        confidence: coverage.

    Returns:
        `calibration_slope` and `calibration_intercept`; undefined with one class only, the slope also where all
        probabilities are equal or separate the classes.
    """
    y = np.asarray(targets, dtype=np.float64)
    reason = why_undefined(targets)
    if reason:
        return dict.fromkeys(("calibration_slope", "calibration_intercept"), MetricValue.undefined(reason, n=len(y)))
    x = logit(np.clip(np.asarray(probabilities, dtype=np.float64), _LOGIT_LIMIT, 1 - _LOGIT_LIMIT))
    owner = np.arange(len(y)) if patients is None else np.unique(patients, return_inverse=True)[1]
    ones = np.ones((len(y), 1))
    values: dict[str, MetricValue] = {}
    if np.ptp(x) < _LOGIT_LIMIT:
        values["calibration_slope"] = MetricValue.undefined("all probabilities are equal", n=len(y))
    elif x[y > 0].min() >= x[y == 0].max() or x[y > 0].max() <= x[y == 0].min():
        values["calibration_slope"] = MetricValue.undefined("the probabilities separate the classes", n=len(y))
    else:
        design = np.column_stack([ones, x])
        values["calibration_slope"] = _coefficient(design, y, np.zeros(len(y)), owner, 1, confidence)
    values["calibration_intercept"] = _coefficient(ones, y, x, owner, 0, confidence)
    return values


def reliability(
    targets: Binary,
    probabilities: Values,
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    bins: int = 15,
    binning: Binning = "width",
    confidence: float = 0.95,
) -> Reliability:
    """Mean probability against the share of positives, bin by bin; the arguments of `ece`."""
    y, p = np.asarray(targets, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    index = bin_index(p, bins, binning)
    n, mean_p, _ = _by_bin(y, p, index)
    observed: list[MetricValue] = []
    for number in np.unique(index):
        rows = index == number
        owner = None if patients is None else patients[rows]
        observed.append(proportion(y[rows] > 0, owner, confidence=confidence, method="wilson"))
    return Reliability(mean_p, tuple(observed), n)


def _mean(losses: Values) -> MetricValue:
    if len(losses) == 0:
        return MetricValue.undefined("no rows")
    return MetricValue(float(losses.mean()), n=len(losses))


def _row_loss(y: Values, p: Values) -> Values:
    p = np.clip(p, _EPSILON, 1 - _EPSILON)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def _by_bin(y: Values, p: Values, index: Int[np.ndarray, " n"]) -> tuple[Values, Values, Values]:
    """Rows, mean probability and share of positives of every bin that is not empty."""
    _, place = np.unique(index, return_inverse=True)
    n = np.bincount(place)
    return n, np.bincount(place, p) / n, np.bincount(place, y) / n


def _coefficient(
    design: Float[np.ndarray, "n F"],
    y: Values,
    offset: Values,
    owner: Int[np.ndarray, " n"],
    which: int,
    confidence: float,
) -> MetricValue:
    """One coefficient of a logistic regression by damped Newton steps, its variance by the sandwich over patients."""
    weights = np.zeros(design.shape[1])
    weights[0] = 0.0 if offset.any() else float(logit(y.mean()))

    def loss(candidate: Values) -> float:
        z = offset + design @ candidate
        return float(np.sum(np.logaddexp(0, z) - y * z))

    for _ in range(100):
        p = expit(offset + design @ weights)
        bread = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(bread + 1e-12 * np.eye(len(weights)), design.T @ (y - p))
        now = loss(weights)
        while loss(weights + step) > now + 1e-9 * abs(now) and np.abs(step).max() > _LOGIT_LIMIT:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    count = int(owner.max()) + 1
    value = MetricValue(float(weights[which]), n=len(y))
    if count < 2:
        return value
    p = expit(offset + design @ weights)
    bread = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    pull = design * (y - p)[:, None]
    scores = np.stack([np.bincount(owner, column, minlength=count) for column in pull.T])
    variance = (bread @ (scores @ scores.T) @ bread)[which, which] * count / (count - 1)
    half = float(norm.isf((1 - confidence) / 2)) * math.sqrt(max(variance, 0.0))
    return MetricValue(value.value, value.value - half, value.value + half, len(y), interval="sandwich by patient")
