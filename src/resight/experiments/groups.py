"""Results by group of a finished run, for report and bundle: rows, and what follows from them in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resight.errors import SettingsError
from resight.evaluation import make_groupings
from resight.evidence import SubgroupRow
from resight.experiments.judge import Judged
from resight.experiments.settings import ExperimentSettings
from resight.fairness import Audit, AuditOptions, audit, widest_gaps

_SHOWN = ("auroc", "sensitivity", "specificity", "observed_minus_expected")


@dataclass(frozen=True)
class GroupFindings:
    """What the report shows.

    Attributes:
        rows: groups with labels in which at least one metric is estimable.
        sentences: differences that outlast the correction, or that there are none, or that nobody can tell.
        gaps: of each attribute the widest equalised-odds and calibration gaps, one sentence each.
    """

    rows: tuple[SubgroupRow, ...] = ()
    sentences: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


def group_findings(settings: ExperimentSettings, judged: Judged) -> GroupFindings:
    """Audit the judged rows by the attributes of `report.groups` that the cohort has."""
    images = judged.predictions.part(split=judged.evaluated_on).images()
    by: list[str] = []
    for name in settings.report.groups:
        try:
            (grouping,) = make_groupings(images, [name])
        except SettingsError:
            continue  # the cohort does not have it
        if len(grouping.groups) > 1:
            by.append(name)
    if not by:
        return GroupFindings(sentences=("Whether results are alike for everybody is not known: no groups are known.",))
    evaluation = settings.evaluation
    options = AuditOptions(
        by=tuple(by), split=judged.evaluated_on, bootstrap=evaluation.bootstrap, seed=evaluation.seed
    )
    found = audit(judged.predictions, options)
    rows = tuple(
        SubgroupRow(one.attribute, one.group, one.label, one.images, one.positives, metrics)
        for one in found.groups
        if one.label and any(one.metrics[name].value == one.metrics[name].value for name in _SHOWN)
        for metrics in [{name: one.metrics[name] for name in _SHOWN}]
    )
    return GroupFindings(rows, _sentences(found, by), tuple(_gaps(found)))


def _sentences(found: Audit, by: list[str]) -> tuple[str, ...]:
    if not found.tests:
        return (f"Whether results differ by {', '.join(by)} cannot be told: too few patients in the groups.",)
    differences = tuple(
        f"{one.attribute} {one.group}, {one.label or 'any finding'}: {one.metric.replace('_', ' ')} "
        f"{one.value.value:.2f} against {one.rest.value:.2f} in the others (p = {one.p_holm:.2g} after Holm)."
        for one in found.found
    )
    if differences:
        return differences
    return (
        f"None of {found.tests} tests finds a difference by {', '.join(by)} after Holm's correction. "
        "In small groups that is no proof of fairness.",
    )


def _gaps(found: Audit) -> Iterator[str]:
    for gap in widest_gaps(found, ("equalised_odds", "observed_minus_expected")):
        name = {"equalised_odds": "Equalised-odds gap", "observed_minus_expected": "Calibration gap"}[gap.metric]
        yield f"{name} by {gap.attribute}, widest for {gap.label}: {gap.gap}; worst in {gap.worst}, best in {gap.best}."
