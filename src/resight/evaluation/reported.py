"""Whether reported rates can have come from any confusion matrix of the size they are said to rest on.

A rate printed with d decimals is an interval; the counts behind it are integers. For one test set every number of true
positives is tried and the true negatives that fit are solved for exactly; for rates averaged over folds a small integer
program is solved. The idea is that of Fazekas & Kovacs 2024, "Testing the consistency of performance scores reported
for binary classification problems".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import milp

Rounding = Literal["nearest", "truncated"]
Fold = tuple[int, int]
"""Positives and negatives of one fold."""


RateName = Literal["accuracy", "sensitivity", "specificity", "balanced_accuracy", "ppv", "npv", "f1"]
LINEAR_RATES = ("accuracy", "sensitivity", "specificity", "balanced_accuracy")
"""Rates whose mean over folds is linear in the counts."""


@dataclass(frozen=True)
class Interval:
    """The numbers a printed number can stand for."""

    low: Fraction
    high: Fraction

    def __str__(self) -> str:
        return f"{float(self.low):.4f} to {float(self.high):.4f}"


@dataclass(frozen=True)
class Outcome:
    """A confusion matrix that gives the reported rates, summed over folds."""

    true_positives: int
    true_negatives: int
    positives: int
    negatives: int

    def __str__(self) -> str:
        return (
            f"{self.true_positives} of {self.positives} positives and "
            f"{self.true_negatives} of {self.negatives} negatives right"
        )


def printed(text: str, rounding: Rounding = "nearest") -> Interval:
    """The interval of a printed rate.

    Args:
        text: as printed, for example `"0.955"`, `"95.5%"` or `"94 %"`; trailing zeros count as digits.
        rounding: to the `nearest` last digit (either way at the half), or `truncated` after it.

    Raises:
        ValueError: not a number.
    """
    number = text.strip()
    scale = 100 if number.endswith("%") else 1
    number = number.removesuffix("%").strip()
    value = Fraction(number) / scale
    unit = Fraction(1, 10 ** len(number.partition(".")[2])) / scale
    if rounding == "truncated":
        return Interval(value, value + unit)
    return Interval(value - unit / 2, value + unit / 2)


def matching_counts(rates: Mapping[str, Interval], positives: int, negatives: int) -> list[Outcome]:
    """Every confusion matrix of one test set that gives all the rates; empty when there is none.

    Args:
        rates: `accuracy`, `sensitivity`, `specificity`, `ppv`, `npv`, `f1`, `balanced_accuracy`.
        positives: number of positive samples.
        negatives: number of negative samples.

    Raises:
        ValueError: unknown rate, or a class without samples.
    """
    _require_samples(positives, negatives)
    _require_known(rates, get_args(RateName))
    found: list[Outcome] = []
    for tp in range(positives + 1):
        low, high = 0, negatives
        for name, interval in rates.items():
            low, high = _narrowed(low, high, _ratio(name, tp, positives, negatives), interval)
        found += [Outcome(tp, tn, positives, negatives) for tn in range(low, high + 1)]
    return found


def matching_folds(rates: Mapping[str, Interval], folds: Sequence[Fold]) -> Outcome | None:
    """Outcome, summed over folds, whose fold-wise rates have the reported means; None when there are none.

    Args:
        rates: means over the folds of `accuracy`, `sensitivity`, `specificity` or `balanced_accuracy`; other rates
            are not linear in the counts.
        folds: positives and negatives of each fold; a repeated cross-validation lists the folds of every round.

    Raises:
        ValueError: a rate that is not linear, or a fold without samples of a class.
    """
    _require_known(rates, LINEAR_RATES)
    kinds = Counter(folds)
    sizes, numbers = list(kinds), list(kinds.values())
    for p, n in sizes:
        _require_samples(p, n)
    rows, lower, upper = [], [], []
    for name, interval in rates.items():
        share_tp, share_tn = zip(*(_per_count(name, p, n) for p, n in sizes), strict=True)
        coefficients = [*share_tp, *share_tn]
        common = math.lcm(*(c.denominator for c in coefficients))  # integer rows: the solver's tolerance cannot matter
        rows.append([int(c * common) for c in coefficients])
        lower.append(math.ceil(interval.low * len(folds) * common))
        upper.append(math.floor(interval.high * len(folds) * common))
    most = [k * p for k, (p, _) in zip(numbers, sizes, strict=True)]
    most += [k * n for k, (_, n) in zip(numbers, sizes, strict=True)]
    solution = _milp(
        np.zeros(len(most)),
        integrality=np.ones(len(most)),
        bounds=(0, most),
        constraints=(np.array(rows, dtype=float), lower, upper),
    )
    if solution.x is None:
        return None
    tp, tn = np.split(np.round(solution.x).astype(int), 2)
    return Outcome(int(tp.sum()), int(tn.sum()), sum(p for p, _ in folds), sum(n for _, n in folds))


def even_folds(positives: int, negatives: int, folds: int, repeats: int = 1) -> list[Fold]:
    """Stratified folds as even as they can be: extra positives in the first folds, extra negatives in the ones after.

    Args:
        positives: positive samples of the whole set.
        negatives: negative samples of the whole set.
        folds: folds of a round.
        repeats: rounds.
    """
    extra_p, extra_n = positives % folds, negatives % folds
    return [
        (positives // folds + (i < extra_p), negatives // folds + ((i - extra_p) % folds < extra_n))
        for i in range(folds)
    ] * repeats


def possible_auroc(sensitivity: Interval, specificity: Interval) -> Interval:
    """The AUROCs of all ROC curves through an operating point: from `se * sp` to `1 - (1 - se) (1 - sp)`."""
    return Interval(
        max(sensitivity.low, Fraction(0)) * max(specificity.low, Fraction(0)),
        1 - max(1 - sensitivity.high, Fraction(0)) * max(1 - specificity.high, Fraction(0)),
    )


_milp: Any = milp
"""Typed here because SciPy's own annotations, inferred from its defaults, know no arrays."""

_Ratio = tuple[Fraction | int, Fraction | int, Fraction | int, int]
"""a, b, c, d of `(a + b tn) / (c + d tn)`."""


def _ratio(name: str, tp: int, p: int, n: int) -> _Ratio:
    """A rate as a function of the true negatives."""
    return {
        "accuracy": (tp, 1, p + n, 0),
        "sensitivity": (tp, 0, p, 0),
        "specificity": (0, 1, n, 0),
        "balanced_accuracy": (Fraction(tp, 2 * p), Fraction(1, 2 * n), 1, 0),
        "ppv": (tp, 0, tp + n, -1),
        "npv": (0, 1, p - tp, 1),
        "f1": (2 * tp, 0, tp + p + n, -1),
    }[name]


def _per_count(name: str, p: int, n: int) -> tuple[Fraction, Fraction]:
    """What one true positive and one true negative add to a rate that is linear in them."""
    return {
        "accuracy": (Fraction(1, p + n), Fraction(1, p + n)),
        "sensitivity": (Fraction(1, p), Fraction(0)),
        "specificity": (Fraction(0), Fraction(1, n)),
        "balanced_accuracy": (Fraction(1, 2 * p), Fraction(1, 2 * n)),
    }[name]


def _narrowed(low: int, high: int, ratio: _Ratio, interval: Interval) -> tuple[int, int]:
    """The true negatives between low and high whose ratio lies in the interval; low > high when there are none."""
    a, b, c, d = ratio
    if d:  # at an end the denominator can be 0: nothing predicted positive (or negative), the rate is not defined
        low += low <= high and c + d * low == 0
        high -= low <= high and c + d * high == 0
    # interval.low <= ratio and ratio <= interval.high, multiplied by the positive denominator: slope * tn >= least
    for slope, least in (
        (b - interval.low * d, interval.low * c - a),
        (interval.high * d - b, a - interval.high * c),
    ):
        if slope > 0:
            low = max(low, math.ceil(Fraction(least) / slope))
        elif slope < 0:
            high = min(high, math.floor(Fraction(least) / slope))
        elif least > 0:
            return 1, 0
    return low, high


def _require_known(rates: Mapping[str, Interval], names: Sequence[str]) -> None:
    unknown = sorted(set(rates) - set(names))
    if unknown or not rates:
        raise ValueError(f"rates {unknown or 'none'}; expected some of {', '.join(names)}")


def _require_samples(positives: int, negatives: int) -> None:
    if positives < 1 or negatives < 1:
        raise ValueError(f"{positives} positives and {negatives} negatives; expected at least one of each")
