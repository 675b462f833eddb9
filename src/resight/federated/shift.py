"""How a site differs from the others: prevalence, and the distribution of scores, from counts alone.

Population stability index as used in credit scoring (Siddiqi 2006): below 0.1 little, above 0.25 much; the largest
distance of the distribution functions is Kolmogorov and Smirnov's.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int

from resight.evaluation import wilson
from resight.types import MetricValue

_BINS = 10
_HALF = 0.5
"""Added to every bin, so that an empty one does not make the index infinite."""


def site_shift(own: Int[np.ndarray, "2 levels"], rest: Int[np.ndarray, "2 levels"]) -> dict[str, MetricValue]:
    """Compare a site's counts with those of all others.

    Args:
        own: negatives and positives of the site by level of their score.
        rest: of all other sites.

    Returns:
        `prevalence_difference` (own less rest, with Newcombe's interval), `stability_index` and `largest_distance`.
    """
    n, m = int(own.sum()), int(rest.sum())
    if not n or not m:
        return dict.fromkeys(("prevalence_difference", "stability_index", "largest_distance"), _nobody(n, m))
    ours, theirs = own.sum(axis=0), rest.sum(axis=0)
    edges = np.searchsorted(np.cumsum(theirs) / m, np.arange(1, _BINS) / _BINS)
    starts = np.unique(np.concatenate([[0], edges + 1]).clip(0, len(ours) - 1))
    p = np.add.reduceat(ours, starts) + _HALF
    q = np.add.reduceat(theirs, starts) + _HALF
    p, q = p / p.sum(), q / q.sum()
    distance = float(np.max(np.abs(np.cumsum(ours) / n - np.cumsum(theirs) / m)))
    return {
        "prevalence_difference": _difference(int(own[1].sum()), n, int(rest[1].sum()), m),
        "stability_index": MetricValue(float(np.sum((p - q) * np.log(p / q))), n=n),
        "largest_distance": MetricValue(distance, n=n),
    }


def _difference(a: int, n: int, b: int, m: int) -> MetricValue:
    """Difference of two proportions with the interval of Newcombe 1998, method 10."""
    (low_a, high_a), (low_b, high_b) = wilson(a, n), wilson(b, m)
    p, q = a / n, b / m
    low = p - q - math.hypot(p - low_a, high_b - q)
    high = p - q + math.hypot(high_a - p, q - low_b)
    return MetricValue(p - q, low, high, n, interval="Newcombe")


def _nobody(n: int, m: int) -> MetricValue:
    return MetricValue.undefined("no images here" if not n else "no images at the other sites", n=min(n, m))
