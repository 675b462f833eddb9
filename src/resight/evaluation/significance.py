"""Tests of two models' decisions, and the correction for testing many labels.

McNemar 1947, exact and by patient; mid-p after Fagerland et al. 2013; step-down correction of Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.stats import norm

from resight.evaluation.discrimination import Binary

_EXACT_UP_TO = 1000
"""Patients with a difference up to which McNemar's distribution is written out; the normal is then as good."""


@dataclass(frozen=True)
class McNemar:
    """Where two models' decisions differ.

    Attributes:
        only_a_right: images that only the first model decides rightly.
        only_b_right: images that only the second model decides rightly.
        p: two-sided; exact up to 1,000 patients with a difference.
        mid_p: less conservative: half the probability of what was seen.
    """

    only_a_right: int
    only_b_right: int
    p: float
    mid_p: float


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays NaN and does not count as a test."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return corrected.tolist()


def mcnemar(right_a: Binary, right_b: Binary, patients: Int[np.ndarray, " n"] | None = None) -> McNemar:
    """Exact test that two models are right equally often.

    Under the null hypothesis the two models could be exchanged within each patient, so the signs of the patients'
    differences are coin flips. With one image a patient this is McNemar's exact (binomial) test.

    Args:
        right_a: whether the first model's decision is right.
        right_b: the same of the second.
        patients: number of the patient of each row.
    """
    difference = np.asarray(right_b, dtype=np.int64) - np.asarray(right_a, dtype=np.int64)
    if patients is None:
        patients = np.arange(len(difference))
    net = np.bincount(np.unique(patients, return_inverse=True)[1], difference).astype(np.int64)
    sizes = np.abs(net[net != 0])
    seen = abs(int(net.sum()))
    p, at_seen = _sign_flip(sizes, seen)
    return McNemar(
        only_a_right=int((difference < 0).sum()),
        only_b_right=int((difference > 0).sum()),
        p=min(1.0, p),
        mid_p=min(1.0, p - at_seen / 2),
    )


def _sign_flip(sizes: Int[np.ndarray, " k"], seen: int) -> tuple[float, float]:
    """Probability of a sum at least as far from 0 as the one seen, and of one exactly as far."""
    if len(sizes) == 0:
        return 1.0, 0.0
    if len(sizes) > _EXACT_UP_TO:
        return float(2 * norm.sf(seen / math.sqrt(float(sizes @ sizes)))), 0.0
    total = int(sizes.sum())
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    for size in sizes:
        moved = np.zeros_like(chance)
        moved[size:] += 0.5 * chance[:-size]
        moved[:-size] += 0.5 * chance[size:]
        chance = moved
    distance = np.abs(np.arange(-total, total + 1))
    return float(chance[distance >= seen].sum()), float(chance[distance == seen].sum())
