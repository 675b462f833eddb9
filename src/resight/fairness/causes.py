"""What else differs between groups: how common findings are, image quality, failures, and the mix of other attributes.

A difference in results has many causes. Where the groups also differ in these, the model is not the only suspect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int
from scipy.stats import chi2

from resight.evaluation.groups import Grouping
from resight.evaluation.significance import holm
from resight.fairness.cases import AuditCases
from resight.fairness.options import AuditOptions
from resight.fairness.results import Cause


def causes(cases: AuditCases, groupings: Sequence[Grouping], options: AuditOptions) -> tuple[Cause, ...]:
    """Compare groups in everything but the results.

    Args:
        cases: the rows.
        groupings: the groups.
        options: groups below `min_images` are left out.
    """
    found = [cause for grouping in groupings for cause in _of_grouping(cases, grouping, groupings, options)]
    corrected = holm([cause.p for cause in found])
    return tuple(
        Cause(cause.attribute, cause.what, cause.shares, cause.strength, p)
        for cause, p in zip(found, corrected, strict=True)
    )


def _of_grouping(
    cases: AuditCases, grouping: Grouping, others: Sequence[Grouping], options: AuditOptions
) -> Iterator[Cause]:
    for column, label in enumerate(cases.labels):
        known = cases.known(column)
        yield _shares(grouping, f"prevalence of {label}", cases.targets[:, column] == 1, known, cases, options)
    everything = np.ones(len(cases.images), dtype=bool)
    if "alerts" in cases.images:
        alerted = (cases.images["alerts"].fillna("").astype(str) != "").to_numpy()
        yield _shares(grouping, "images with an alert", alerted, everything, cases, options)
    failed = np.asarray(np.isnan(cases.scores).all(axis=1))
    if failed.any():
        yield _shares(grouping, "images without a prediction", failed, everything, cases, options)
    for other in others:
        if "+" in other.name or "+" in grouping.name or other.name == grouping.name:
            continue
        both = (other.index >= 0) & (grouping.index >= 0)
        strength, p = _chi_square(grouping.index[both], other.index[both], cases.patients[both])
        yield Cause(grouping.name, f"mix of {other.name}", {}, strength, p)


def _shares(
    grouping: Grouping,
    what: str,
    has: Bool[np.ndarray, " N"],
    known: Bool[np.ndarray, " N"],
    cases: AuditCases,
    options: AuditOptions,
) -> Cause:
    counts = [int((known & grouping.members(number)).sum()) for number in range(len(grouping.groups))]
    kept = [number for number, count in enumerate(counts) if count >= options.min_images]
    rows = known & np.isin(grouping.index, kept)
    shares = {grouping.groups[number]: float(has[known & grouping.members(number)].mean()) for number in kept}
    strength, p = _chi_square(grouping.index[rows], has[rows].astype(np.int64), cases.patients[rows])
    return Cause(grouping.name, what, shares, strength, p)


def _chi_square(
    first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"], patients: Int[np.ndarray, " n"]
) -> tuple[float, float]:
    """Cramér's V, and the p of chi-square divided by images per patient, as if each patient had one image."""
    a, b = np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1]
    shape = (int(a.max(initial=-1)) + 1, int(b.max(initial=-1)) + 1)
    if min(shape) < 2:
        return math.nan, math.nan
    table = np.bincount(a * shape[1] + b, minlength=shape[0] * shape[1]).reshape(shape)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    strength = math.sqrt(statistic / (table.sum() * (min(shape) - 1)))
    shrunk = statistic * len(np.unique(patients)) / len(patients)
    return strength, float(chi2.sf(shrunk, (shape[0] - 1) * (shape[1] - 1)))
