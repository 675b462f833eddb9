"""How well one metadata column alone tells a label: the shortcut a network could take instead of looking.

Each column is turned into at most ten quantile bins (numbers) or its categories, and a label is predicted out of fold
by the smoothed share of positives in the same bin, whole patients in one fold. The AUROC of that prediction comes with
a 95 % interval whose variance sums the structural components of DeLong et al. (1988) by patient (Obuchowski 1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from resight.types import MetricValue

_FOLDS = 5
_BINS = 10
_Z95 = 1.959964
_FEWEST = 10
"""With fewer positives or negatives the normal approximation of the interval means nothing."""


@dataclass(frozen=True)
class ColumnAuroc:
    """How well `column` alone tells `label`; `from_file` when it is a property of the image file."""

    column: str
    label: str
    auroc: MetricValue
    from_file: bool


def column_aurocs(
    columns: pd.DataFrame, targets: Float[np.ndarray, "N L"], labels: tuple[str, ...], groups: Int[np.ndarray, " N"]
) -> list[ColumnAuroc]:
    """Ask every column about every label.

    Args:
        columns: metadata; constants and identifiers are left out.
        targets: 1, 0, between, or NaN.
        labels: names of the L targets.
        groups: number of each row's patient or cluster, 0, 1, ...

    Returns:
        One entry per column and label, best first. A column that knows nothing comes out at 0.5 or a little below.
    """
    order = np.random.default_rng(0).permutation(int(groups.max(initial=-1)) + 1)
    fold = order[groups] % _FOLDS
    found: list[ColumnAuroc] = []
    for name in columns:
        code = _codes(columns[name])
        if code is None:
            continue
        for label, target in zip(labels, targets.T, strict=True):
            known = ~np.isnan(target)
            score = _out_of_fold(code[known], target[known] >= 0.5, fold[known])
            value = clustered_auroc(score, target[known] >= 0.5, groups[known])
            found.append(ColumnAuroc(str(name), label, value, str(name).startswith("file ")))
    return sorted(found, key=lambda one: -1.0 if math.isnan(one.auroc.value) else one.auroc.value, reverse=True)


def clustered_auroc(
    score: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"], groups: Int[np.ndarray, " N"]
) -> MetricValue:
    """AUROC with a 95 % interval that holds when the rows of a group are alike.

    Args:
        score: higher means more likely positive; ties count half.
        positive: the reference standard.
        groups: number of each row's group; one group per row gives DeLong's interval.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if min(n_positive, n_negative) < _FEWEST:
        return MetricValue.undefined(f"{n_positive} positives, {n_negative} negatives", len(positive))
    _, level = np.unique(score, return_inverse=True)
    above = np.bincount(level[positive], minlength=level.max() + 1) / n_positive
    below = np.bincount(level[~positive], minlength=level.max() + 1) / n_negative
    beaten = np.cumsum(below) - below / 2
    beating = 1 - np.cumsum(above) + above / 2
    auroc = float((above * beaten).sum())
    influence = np.where(positive, (beaten[level] - auroc) / n_positive, (beating[level] - auroc) / n_negative)
    by_group = np.bincount(groups, weights=influence)
    count = len(np.unique(groups))
    if count < 2:
        return MetricValue(auroc, n=len(positive))
    half = _Z95 * math.sqrt(count / (count - 1) * float((by_group**2).sum()))
    return MetricValue(auroc, max(0.0, auroc - half), min(1.0, auroc + half), len(positive))


def _codes(values: pd.Series[str]) -> Int[np.ndarray, " N"] | None:
    """Bin or category of each row, missing values as one of their own.

    None for a constant, and for names and hashes: text of which more than half the rows have a value of their own.
    """
    if pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > _BINS:
        values = pd.qcut(values, _BINS, labels=False, duplicates="drop")
    code, distinct = pd.factorize(values, use_na_sentinel=False)
    return code if 1 < len(distinct) <= len(values) / 2 else None


def _out_of_fold(
    code: Int[np.ndarray, " N"], positive: Bool[np.ndarray, " N"], fold: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Share of positives in the row's bin in all other folds, shrunk by one row, minus their overall share."""
    size = int(code.max(initial=0)) + 1
    cell = fold * size + code
    shape = (_FOLDS, size)
    hits = np.bincount(cell, weights=positive, minlength=_FOLDS * size).reshape(shape)
    rows = np.bincount(cell, minlength=_FOLDS * size).reshape(shape)
    other_hits, other_rows = hits.sum(axis=0) - hits, rows.sum(axis=0) - rows
    prior = other_hits.sum(axis=1, keepdims=True) / np.maximum(other_rows.sum(axis=1, keepdims=True), 1)
    return ((other_hits + prior) / (other_rows + 1) - prior).reshape(-1)[cell]
