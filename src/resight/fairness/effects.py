"""What a mitigation changed: gaps and overall results before and after on the same images, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, vstack

from resight.errors import PredictionsError
from resight.evaluation.groups import Grouping, make_groupings
from resight.evaluation.resampling import Replicates, Statistic, bootstrap, with_percentiles
from resight.fairness.cases import AuditCases, audit_cases
from resight.fairness.measures import few_of_a_class
from resight.fairness.options import AuditOptions
from resight.predictions import Predictions
from resight.types import MetricValue

GAPS = ("sensitivity_gap", "fpr_gap", "equalised_odds_gap", "calibration_gap")
"""Smaller is better."""
RESULTS = ("worst_sensitivity", "sensitivity", "specificity", "balanced_accuracy", "brier")
"""What a smaller gap may cost."""
_OF_GROUPS = (*GAPS, "worst_sensitivity")


@dataclass(frozen=True)
class Effect:
    """One metric of one label before and after.

    Attributes:
        attribute: what was grouped by.
        label: the label.
        metric: one of `GAPS` or `RESULTS`.
        before: of the baseline.
        after: of the mitigated predictions.
        change: after less before; its interval comes from drawing the same patients for both.
        groups: groups large enough to count.
    """

    attribute: str
    label: str
    metric: str
    before: MetricValue
    after: MetricValue
    change: MetricValue
    groups: tuple[str, ...]


def effects(before: Predictions, after: Predictions, options: AuditOptions) -> tuple[Effect, ...]:
    """Compare two predictions tables of the same images by group.

    Args:
        before: of the usual model.
        after: of another one, or of other thresholds or probabilities of the same.
        options: what to group by, split, suppression and bootstrap.

    Raises:
        PredictionsError: other images or labels, or no decisions or probabilities to compare.
        SettingsError: no such attribute.
    """
    first, second = (audit_cases(predictions, options.split) for predictions in (before, after))
    second = _aligned(first, second)
    groupings = make_groupings(first.images, options.by, options.edges)
    jobs = [
        (grouping, column, kept, _statistic(first, second, grouping, column, kept))
        for grouping in groupings
        for column in range(len(first.labels))
        for kept in [_kept(first, grouping, column, options.min_events)]
    ]
    n_patients = int(first.patients.max()) + 1
    drawn: list[dict[str, Replicates]] = [{} for _ in jobs]
    if options.bootstrap:
        statistics = [job[3].by_patient(first.patients, n_patients) for job in jobs]
        drawn = bootstrap(statistics, n_patients, replicates=options.bootstrap, seed=options.seed)
    return tuple(
        effect
        for (grouping, column, kept, statistic), replicates in zip(jobs, drawn, strict=True)
        for effect in _effects(
            grouping,
            first.labels[column],
            kept,
            int((first.known(column) & second.known(column)).sum()),
            statistic.estimate(),
            replicates,
            options,
        )
    )


def _aligned(first: AuditCases, second: AuditCases) -> AuditCases:
    if first.labels != second.labels or list(first.images["image"]) != list(second.images["image"]):
        fix = "Both tables must hold the same images and labels in the same order."
        raise PredictionsError("the tables differ in images or labels", where="mitigation", fix=fix)
    for cases in (first, second):
        if cases.decisions is None or cases.probabilities is None:
            raise PredictionsError("no decisions or probabilities to compare", where="mitigation")
    return second


def _kept(cases: AuditCases, grouping: Grouping, column: int, least: int) -> tuple[int, ...]:
    """Groups with enough patients of both classes."""
    kept: list[int] = []
    for number in range(len(grouping.groups)):
        rows = cases.known(column) & grouping.members(number)
        if rows.any() and not few_of_a_class(cases.targets[rows, column], cases.patients[rows], least):
            kept.append(number)
    return tuple(kept)


def _statistic(
    first: AuditCases, second: AuditCases, grouping: Grouping, column: int, kept: Sequence[int]
) -> Statistic:
    """Per group, before and after: counts of the confusion table, outcome less probability, and squared error."""
    n = len(first.images)
    parts: list[csr_array] = []
    for cases in (first, second):
        assert cases.decisions is not None
        assert cases.probabilities is not None
        d, p = cases.decisions[:, column], cases.probabilities[:, column]
        rows = first.known(column) & second.known(column) & ~np.isnan(d) & ~np.isnan(p)
        y = np.where(rows, cases.targets[:, column], 0.0)
        cell = (2 * y + np.where(rows, d, 0)).astype(np.int64)
        place = np.full(n, len(kept))  # groups that do not count by themselves count among everybody
        for position, number in enumerate(kept):
            place[grouping.members(number)] = position
        at = np.flatnonzero(rows)
        groups = len(kept) + 1
        counts = csr_array((np.ones(len(at)), (place[at] * 4 + cell[at], at)), shape=(4 * groups, n))
        excess = csr_array(((y - p)[at], (place[at], at)), shape=(groups, n))
        square = csr_array((((y - p) ** 2)[at], (place[at], at)), shape=(groups, n))
        parts += [counts, excess, square]
    groups = len(kept) + 1

    def finish(sums: Float[np.ndarray, "K R"]) -> Mapping[str, Replicates]:
        half = 6 * groups
        before, after = _metrics(sums[:half], groups), _metrics(sums[half:], groups)
        named = {f"{name} before": value for name, value in before.items()}
        named |= {f"{name} after": value for name, value in after.items()}
        return named | {f"{name} change": after[name] - before[name] for name in before}

    return Statistic(csr_array(vstack(parts)), finish)


def _metrics(sums: Float[np.ndarray, "K R"], groups: int) -> dict[str, Replicates]:
    tn, fp, fn, tp = sums[: 4 * groups].reshape(groups, 4, -1).transpose(1, 0, 2)
    excess, square = sums[4 * groups : 5 * groups], sums[5 * groups :]
    own = slice(0, groups - 1)
    nothing = np.full(sums.shape[1], np.nan)
    several = groups > 2
    sensitivity, fpr = tp[own] / (tp + fn)[own], fp[own] / (fp + tn)[own]
    off = excess[own] / (tn + fp + fn + tp)[own]

    def spread(values: Float[np.ndarray, "G R"]) -> Replicates:
        return values.max(axis=0) - values.min(axis=0) if several else nothing

    tn, fp, fn, tp = (values.sum(axis=0) for values in (tn, fp, fn, tp))
    overall, specificity = tp / (tp + fn), tn / (tn + fp)
    gaps = spread(sensitivity), spread(fpr)
    values = (*gaps, np.maximum(*gaps), spread(off))
    worst = sensitivity.min(axis=0) if several else nothing
    brier = square.sum(axis=0) / (tn + fp + fn + tp)
    results = (worst, overall, specificity, (overall + specificity) / 2, brier)
    return dict(zip((*GAPS, *RESULTS), (*values, *results), strict=True))


def _effects(
    grouping: Grouping,
    label: str,
    kept: Sequence[int],
    images: int,
    estimates: Mapping[str, float],
    replicates: Mapping[str, Replicates],
    options: AuditOptions,
) -> list[Effect]:
    names = tuple(grouping.groups[number] for number in kept)
    found: list[Effect] = []
    for metric in (*GAPS, *RESULTS):
        values: list[MetricValue] = []
        count, reason = images, "no positives or no negatives"
        if metric in _OF_GROUPS:
            count = len(kept)
            reason = f"{count} group(s) of {len(grouping.groups)} with {options.min_events} patients a class"
        for when in ("before", "after", "change"):
            name = f"{metric} {when}"
            value = MetricValue(estimates[name], n=count)
            if np.isnan(value.value):
                value = MetricValue.undefined(reason, count)
            elif name in replicates:
                value = with_percentiles(value, replicates[name], options.confidence)
            values.append(value)
        before, after, change = values
        found.append(Effect(grouping.name, label, metric, before, after, change, names))
    return found
