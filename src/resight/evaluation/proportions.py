"""Intervals of a proportion: Clopper & Pearson 1934, Wilson 1927, and Korn & Graubard 1998 where patients repeat."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped
from scipy.stats import beta, norm, t

from resight.types import MetricValue

Method = Literal["exact", "wilson"]


def clopper_pearson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval: covers at least as often as it says; also for fractional, effective counts."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(beta.isf(tail, successes + 1, n - successes)) if successes < n else 1.0
    return low, high


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval: covers as often as it says on average, shorter than the exact one."""
    z = float(norm.isf((1 - confidence) / 2))
    share, spread = successes / n, z**2 / n
    centre = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    low = 0.0 if successes == 0 else (centre - half) / (1 + spread)
    high = 1.0 if successes == n else (centre + half) / (1 + spread)
    return low, high


def proportion(
    success: Shaped[np.ndarray, " n"],
    patients: Int[np.ndarray, " n"] | None = None,
    *,
    confidence: float = 0.95,
    method: Method = "exact",
    undefined_because: str = "no rows",
) -> MetricValue:
    """A proportion with its interval.

    Where patients repeat, n is replaced by the effective n: the one whose binomial variance equals the variance between
    patients (ratio estimator), corrected for the number of patients by Student's t, and never above n. Where all or no
    rows are successes that variance is zero, and the number of patients is taken for n.

    Args:
        success: one entry a row; true for a success.
        patients: number of the patient of each row; each row its own patient when not given.
        confidence: coverage.
        method: exact (Clopper-Pearson; Korn-Graubard by patient) or Wilson.
        undefined_because: reason to give where there are no rows.

    Returns:
        The value; undefined without rows.
    """
    success = np.asarray(success, dtype=np.float64)
    n = len(success)
    if n == 0:
        return MetricValue.undefined(undefined_because)
    share = float(success.mean())
    interval = clopper_pearson if method == "exact" else wilson
    name = "Clopper-Pearson" if method == "exact" else "Wilson"
    effective = float(n)
    repeated = patients is not None and len(np.unique(patients)) < n
    if patients is not None and repeated:
        effective = _effective_n(success, patients, confidence)
        name = "Korn-Graubard by patient" if method == "exact" else "Wilson by patient"
    if effective < 1:
        return MetricValue(share, n=n)
    low, high = interval(share * effective, effective, confidence)
    return MetricValue(share, min(low, share), max(high, share), n, interval=name)


def _effective_n(success: Shaped[np.ndarray, " n"], patients: Int[np.ndarray, " n"], confidence: float) -> float:
    _, owner = np.unique(patients, return_inverse=True)
    sizes = np.bincount(owner)
    count, n = len(sizes), len(success)
    if count < 2:
        return 0.0
    share = success.mean()
    residual = np.bincount(owner, success) - share * sizes
    variance = count / (count - 1) * float(residual @ residual) / n**2
    if variance == 0:
        return float(count)
    tail = (1 - confidence) / 2
    shrink = float(t.isf(tail, n - 1) / t.isf(tail, count - 1)) ** 2
    return min(float(n), share * (1 - share) / variance * shrink)
