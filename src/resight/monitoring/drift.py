"""Incoming cases as a whole against the reference: one test a column, one of all scores and tones, one of all features.

Kolmogorov-Smirnov for numbers, chi-square for categories, and the maximum mean discrepancy with a Gaussian kernel and
a permutation test (Gretton et al., JMLR 2012); the population stability index says how large a shift is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.spatial.distance import cdist
from scipy.stats import chi2_contingency, ks_2samp

from resight.evaluation import holm
from resight.monitoring.columns import is_feature, is_output

_BINS = 10
_FLOOR = 0.5
"""Cases added to an empty bin, so that the index stays finite."""
_LEAST_EXPECTED = 5.0
"""Categories expected less often are counted together."""
_MOST_KERNEL_ROWS = 500
_PERMUTATIONS = 1000
_MORE = 10


@dataclass(frozen=True)
class ColumnDrift:
    """One column, or all scores and tones, or all features together.

    Attributes:
        column: its name.
        kind: `number`, `category`, `all outputs`, `all features` or `calibration`.
        test: what p comes from.
        size: effect: Kolmogorov-Smirnov distance, Cramér's V, discrepancy, or difference of intercepts.
        psi: population stability index; NaN where there is none.
        p: not corrected; NaN where not estimable.
        p_holm: corrected over all columns.
        cases: incoming cases that count.
        undefined_because: why p is NaN.
        drifted: whether `p_holm` is below the level asked for.
    """

    column: str
    kind: str
    test: str
    size: float
    psi: float
    p: float
    p_holm: float
    cases: int
    undefined_because: str = ""
    drifted: bool = False


def undefined_drift(column: str, kind: str, reason: str, cases: int) -> ColumnDrift:
    """A column that cannot be compared."""
    return ColumnDrift(column, kind, "", math.nan, math.nan, math.nan, math.nan, cases, reason)


def column_drifts(before: pd.DataFrame, now: pd.DataFrame, *, min_cases: int, seed: int) -> Iterator[ColumnDrift]:
    """Compare every column.

    Args:
        before: the reference.
        now: incoming cases, columns in the reference's types.
        min_cases: fewer known values than this are not tested.
        seed: of the permutations.
    """
    together: dict[str, list[str]] = {"all outputs": [], "all features": []}
    for name in map(str, before.columns):
        numeric = pd.api.types.is_numeric_dtype(before[name].dtype)
        kind = "number" if numeric else "category"
        if name not in now:
            yield undefined_drift(name, kind, "the incoming table has no such column", 0)
            continue
        old, new = before[name].dropna(), now[name].dropna()
        if min(len(old), len(new)) < min_cases:
            reason = f"{min(len(old), len(new))} known values, fewer than {min_cases}"
            yield undefined_drift(name, kind, reason, len(new))
        elif numeric:
            if is_output(name) or is_feature(name):
                together["all outputs" if is_output(name) else "all features"].append(name)
            distance, p = (float(value) for value in np.asarray(ks_2samp(old, new)))
            psi = stability_index(old.to_numpy(), new.to_numpy())
            yield ColumnDrift(name, kind, "Kolmogorov-Smirnov", distance, psi, p, math.nan, len(new))
        else:
            yield _categories(name, old, new)
    for what, numbers in together.items():
        if len(numbers) > 1:
            yield _together(what, before[numbers].dropna(), now[numbers].dropna(), min_cases, seed)


def corrected(drifts: list[ColumnDrift], alpha: float) -> tuple[ColumnDrift, ...]:
    """Holm's correction over all columns."""
    p_values = holm([one.p for one in drifts])
    return tuple(replace(one, p_holm=p, drifted=p < alpha) for one, p in zip(drifts, p_values, strict=True))


def stability_index(before: Float[np.ndarray, " n"], now: Float[np.ndarray, " m"]) -> float:
    """Population stability index over deciles of the reference; above 0.25 is usually called a large shift."""
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = []
    for values in (before, now):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(float)
        counts = np.maximum(counts, _FLOOR)
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def discrepancy(
    before: Float[np.ndarray, "n F"], now: Float[np.ndarray, "m F"], *, permutations: int, seed: int
) -> tuple[float, float]:
    """Squared maximum mean discrepancy (biased estimate) with the median distance as width, and its permutation p.

    Args:
        before: one row a case.
        now: the same.
        permutations: drawn for p, and ten times as many where none of them reaches what was found.
        seed: of the permutations.
    """
    both = np.concatenate([before, now])
    squared = cdist(both, both, "sqeuclidean")
    width = float(np.median(squared[np.triu_indices(len(both), 1)]))
    kernel = np.exp(-squared / max(width, np.finfo(float).tiny))
    sign = np.concatenate([np.full(len(before), 1 / len(before)), np.full(len(now), -1 / len(now))])
    rng = np.random.default_rng(seed)
    observed = float(sign @ kernel @ sign)
    reached = drawn = 0
    # what no permutation has reached is drawn more often, so that p can outlast a correction over many columns
    while drawn < permutations or (reached == 0 and drawn < _MORE * permutations):
        signs = np.stack([rng.permutation(sign) for _ in range(permutations)], axis=1)
        reached += int((np.einsum("nr,nr->r", signs, kernel @ signs) >= observed - 1e-12).sum())
        drawn += permutations
    return observed, (reached + 1) / (drawn + 1)


def _categories(name: str, old: pd.Series[str], new: pd.Series[str]) -> ColumnDrift:
    counts = pd.DataFrame({"old": old.value_counts(), "new": new.value_counts()}).fillna(0.0)
    least = min(len(old), len(new)) / (len(old) + len(new))
    rare = counts.sum(axis=1) * least < _LEAST_EXPECTED
    table = np.concatenate([counts.loc[~rare].to_numpy(), counts.loc[rare].sum().to_numpy()[None]])
    table = table[table.sum(axis=1) > 0]
    if len(table) < 2:
        return undefined_drift(name, "category", "one category only", len(new))
    found = chi2_contingency(table, correction=False)
    statistic, p = (float(np.asarray(value)) for value in (found[0], found[1]))
    shares = np.maximum(table, _FLOOR) / np.maximum(table, _FLOOR).sum(axis=0)
    psi = float(((shares[:, 1] - shares[:, 0]) * np.log(shares[:, 1] / shares[:, 0])).sum())
    strength = math.sqrt(statistic / table.sum())
    return ColumnDrift(name, "category", "chi-square", strength, psi, p, math.nan, len(new))


def _together(what: str, before: pd.DataFrame, now: pd.DataFrame, min_cases: int, seed: int) -> ColumnDrift:
    if min(len(before), len(now)) < min_cases:
        return undefined_drift(what, what, f"{len(now)} complete cases", len(now))
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(now))[:_MOST_KERNEL_ROWS])
    # ranks within both: a column with a long tail must not rule the distances
    joint = pd.concat([before, now.iloc[rows]], ignore_index=True).rank(pct=True).to_numpy()
    parts = joint[: len(before)], joint[len(before) :]
    size, p = discrepancy(*parts, permutations=_PERMUTATIONS, seed=seed)
    return ColumnDrift(what, what, "maximum mean discrepancy", size, math.nan, p, math.nan, len(now))
