"""Corrected t-test for two models compared on the same random splits (Nadeau & Bengio 2003, section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t


@dataclass(frozen=True)
class ResampledTTest:
    """Difference of two models over repeated splits of one data set.

    Attributes:
        difference: mean difference, first minus second; NaN without splits.
        low: lower end of the confidence interval.
        high: upper end of the confidence interval.
        statistic: corrected t, `splits - 1` degrees of freedom.
        p: two-sided.
        splits: number of splits compared.
        undefined_because: why low, high, statistic and p are NaN; empty otherwise.
    """

    difference: float
    low: float
    high: float
    statistic: float
    p: float
    splits: int
    undefined_because: str = ""


def corrected_resampled_t_test(
    first: Float[np.ndarray, " R"],
    second: Float[np.ndarray, " R"],
    *,
    n_train: int,
    n_test: int,
    confidence: float = 0.95,
) -> ResampledTTest:
    """Compare two models by a metric measured on R splits of the same data.

    The training sets of the splits overlap, so the R differences are not independent and the plain t-test finds
    differences that are not there: the variance of the mean is `(1 / R + n_test / n_train)` instead of `1 / R` times
    that of the differences. Meant for repeated hold-out and repeated cross-validation.

    Args:
        first: metric of the first model on each split.
        second: metric of the second model on the same splits.
        n_train: samples (patients, where patients are split) in a training part.
        n_test: samples in a test part.
        confidence: of the interval.

    Returns:
        The test; undefined for fewer than two splits, a metric that is not defined on a split, or differences that
        are all the same and not zero. Where all are zero p is 1.

    Raises:
        ValueError: a different number of splits, or a part without samples.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"values of shapes {first.shape} and {second.shape}; expected one per split of each model")
    if n_train < 1 or n_test < 1:
        raise ValueError(f"n_train = {n_train}, n_test = {n_test}; expected at least 1")
    differences = first - second
    splits = len(differences)
    mean = float(differences.mean()) if splits else math.nan
    if reason := _undefined(differences):
        return ResampledTTest(mean, math.nan, math.nan, math.nan, math.nan, splits, reason)
    error = math.sqrt((1 / splits + n_test / n_train) * float(differences.var(ddof=1)))
    statistic = mean / error if error else 0.0
    margin = float(t.ppf((1 + confidence) / 2, splits - 1)) * error
    p = 2 * float(t.sf(abs(statistic), splits - 1))
    return ResampledTTest(mean, mean - margin, mean + margin, statistic, p, splits)


def _undefined(differences: Float[np.ndarray, " R"]) -> str:
    if len(differences) < 2:
        return f"{len(differences)} split(s); two are needed to see a variance"
    if np.isnan(differences).any():
        return f"the metric is not defined on {int(np.isnan(differences).sum())} of {len(differences)} splits"
    if np.ptp(differences) == 0 and differences[0]:
        return "the difference is the same on every split"
    return ""
