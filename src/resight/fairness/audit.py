"""A predictions table in, every metric by group out, with tests of each group against the rest.

Tested are AUROC, sensitivity, specificity, the distance of outcome and probability, and the underdiagnosis rate
(Seyyed-Kalantari et al. 2021). PPV, NPV, Brier score and AUPRC are given and not tested: they change with how common a
finding is, also for a model that treats everybody alike. All tests of one audit are corrected together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from resight.evaluation.groups import Grouping, make_groupings
from resight.evaluation.measures import Block, resample
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.significance import holm
from resight.fairness.cases import AuditCases, audit_cases
from resight.fairness.causes import causes
from resight.fairness.differences import (
    Contrast,
    auroc_contrast,
    benjamini_hochberg,
    calibration_contrast,
    rate_contrast,
    undefined_contrast,
)
from resight.fairness.gaps import gaps
from resight.fairness.measures import few_of_a_class, few_patients, group_block, too_few
from resight.fairness.options import AuditOptions
from resight.fairness.results import Audit, Difference, GroupResult
from resight.fairness.underdiagnosis import Underdiagnosis, underdiagnosis
from resight.predictions import Predictions

TESTED = ("auroc", "sensitivity", "specificity", "observed_minus_expected", "underdiagnosis")
"""Metrics in which a group is tested against the rest."""


@dataclass(frozen=True)
class _Test:
    grouping: Grouping
    number: int
    label: str
    metric: str
    contrast: Contrast
    mirrored: bool


def audit(predictions: Predictions, options: AuditOptions) -> Audit:
    """Audit a predictions table by groups.

    Args:
        predictions: the table, with the attributes as columns.
        options: what to group by, suppression, intervals, tests.

    Raises:
        PredictionsError: no such split, or no row with a target that counts.
        SettingsError: no such attribute, or one that makes no groups.
    """
    cases = audit_cases(predictions, options.split)
    groupings = make_groupings(cases.images, options.by, options.edges)
    notes = [*cases.notes, *_notes(groupings, cases, options)]
    missed = underdiagnosis(cases, options.healthy)
    if missed is None:
        notes.append("The underdiagnosis rate needs decisions")
    blocks = {
        (grouping.name, number, column): group_block(cases, column, grouping.members(number), options)
        for grouping in groupings
        for number in range(len(grouping.groups))
        for column in range(len(cases.labels))
    }
    sampling = EvaluationOptions(bootstrap=options.bootstrap, seed=options.seed, confidence=options.confidence)
    n_patients = int(cases.patients.max()) + 1
    resample([block for found in blocks.values() for block in found], cases.patients, n_patients, sampling)
    tests = [test for grouping in groupings for test in _tests(cases, grouping, missed, options)]
    differences, count = _corrected(tests, options.alpha)
    return Audit(
        groups=(*_results(cases, groupings, blocks), *_overall(cases, groupings, missed, options)),
        differences=differences,
        gaps=gaps(groupings, cases.labels, blocks, options.confidence),
        causes=causes(cases, groupings, options),
        notes=tuple(notes),
        images=len(cases.images),
        patients=n_patients,
        tests=count,
        alpha=options.alpha,
        confidence=options.confidence,
    )


def _notes(groupings: Sequence[Grouping], cases: AuditCases, options: AuditOptions) -> Iterator[str]:
    for grouping in groupings:
        yield from grouping.remarks()
        small = [
            name for number, name in enumerate(grouping.groups) if grouping.members(number).sum() < options.min_images
        ]
        if small:
            yield f"{grouping.name}: fewer than {options.min_images} images, not measured: {'; '.join(small)}"
        for column, label in enumerate(cases.labels):
            rows = cases.known(column) & (grouping.index >= 0)
            shares = [
                cases.targets[rows & grouping.members(number), column].mean()
                for number in range(len(grouping.groups))
                if (rows & grouping.members(number)).any()
            ]
            if len(shares) > 1 and set(shares) == {0.0, 1.0}:
                yield f"{grouping.name} says the same as the label {label}: within its groups nothing can be measured"


def _results(
    cases: AuditCases, groupings: Sequence[Grouping], blocks: dict[tuple[str, int, int], list[Block]]
) -> Iterator[GroupResult]:
    for grouping in groupings:
        for number, group in enumerate(grouping.groups):
            for column, label in enumerate(cases.labels):
                rows = grouping.members(number) & cases.known(column)
                values = {
                    name: value
                    for block in blocks[grouping.name, number, column]
                    for name, value in block.values.items()
                }
                positives = int(cases.targets[rows, column].sum())
                patients = len(np.unique(cases.patients[rows]))
                yield GroupResult(grouping.name, group, label, int(rows.sum()), positives, patients, values)


def _overall(
    cases: AuditCases, groupings: Sequence[Grouping], missed: Underdiagnosis | None, options: AuditOptions
) -> Iterator[GroupResult]:
    """Underdiagnosis of every group: not of one label, but of all together."""
    if missed is None:
        return
    for grouping in groupings:
        for number, group in enumerate(grouping.groups):
            rows = grouping.members(number) & missed.ill
            value = missed.rate(rows, cases.patients, options)
            patients = len(np.unique(cases.patients[grouping.members(number)]))
            images = int(grouping.members(number).sum())
            yield GroupResult(grouping.name, group, "", images, int(rows.sum()), patients, {"underdiagnosis": value})


def _tests(
    cases: AuditCases, grouping: Grouping, missed: Underdiagnosis | None, options: AuditOptions
) -> Iterator[_Test]:
    """Every metric of every group against the rest; of two groups the second is the first seen from the other side."""
    two = len(grouping.groups) == 2
    known = grouping.index >= 0
    for number in range(len(grouping.groups)):
        members, mirrored = grouping.members(number), two and number == 1
        if len(grouping.groups) < 2:
            continue
        for column, label in enumerate(cases.labels):
            rows = known & cases.known(column)
            for metric in TESTED[:-1]:
                contrast = _contrast(cases, column, metric, rows, members, options)
                yield _Test(grouping, number, label, metric, contrast, mirrored)
        if missed is not None:
            rows = known & missed.ill
            contrast = _rate(missed.missed, rows, members, cases, options, "a finding")
            yield _Test(grouping, number, "", "underdiagnosis", contrast, mirrored)


def _contrast(
    cases: AuditCases,
    column: int,
    metric: str,
    rows: Bool[np.ndarray, " N"],
    members: Bool[np.ndarray, " N"],
    options: AuditOptions,
) -> Contrast:
    y = cases.targets[:, column]
    fewest = int(min((rows & members).sum(), (rows & ~members).sum()))
    if reason := too_few(fewest, "images", options.min_images):
        return undefined_contrast(reason, fewest)
    if metric in ("sensitivity", "specificity"):
        if cases.decisions is None:
            return undefined_contrast("there are no decisions", int(rows.sum()))
        called = cases.decisions[:, column]
        positive = metric == "sensitivity"
        bar = rows & ~np.isnan(called) & (y == float(positive))
        return _rate(called == float(positive), bar, members, cases, options, "positives" if positive else "negatives")
    if metric == "observed_minus_expected":
        if cases.probabilities is None:
            return undefined_contrast("the scores are no probabilities", int(rows.sum()))
        rows = rows & ~np.isnan(cases.probabilities[:, column])
    for side in (rows & members, rows & ~members):
        if reason := few_of_a_class(y[side], cases.patients[side], options.min_events):
            return undefined_contrast(reason, int(side.sum()))
    owner, inside = cases.patients[rows], members[rows]
    if metric == "auroc":
        return auroc_contrast(y[rows], cases.scores[rows, column], inside, owner, options.confidence)
    assert cases.probabilities is not None
    return calibration_contrast(y[rows], cases.probabilities[rows, column], inside, owner, options.confidence)


def _rate(
    success: Bool[np.ndarray, " N"],
    bar: Bool[np.ndarray, " N"],
    members: Bool[np.ndarray, " N"],
    cases: AuditCases,
    options: AuditOptions,
    what: str,
) -> Contrast:
    for side in (bar & members, bar & ~members):
        if reason := few_patients(cases.patients[side], what, options.min_events):
            return undefined_contrast(reason, int(side.sum()))
    return rate_contrast(success[bar], members[bar], cases.patients[bar], options.confidence)


def _corrected(tests: Sequence[_Test], alpha: float) -> tuple[tuple[Difference, ...], int]:
    """Holm and Benjamini-Hochberg over all tests; a mirror image gets the p of the test it mirrors."""
    own = [test for test in tests if not test.mirrored]
    p = np.array([test.contrast.p for test in own], dtype=np.float64)
    corrected = {
        (test.grouping.name, test.label, test.metric, test.number): (float(h), float(b))
        for test, h, b in zip(own, holm(p.tolist()), benjamini_hochberg(p), strict=True)
    }
    differences: list[Difference] = []
    for test in tests:
        h, b = corrected[test.grouping.name, test.label, test.metric, 0 if test.mirrored else test.number]
        contrast = test.contrast
        differences.append(
            Difference(
                attribute=test.grouping.name,
                group=test.grouping.groups[test.number],
                label=test.label,
                metric=test.metric,
                value=contrast.group,
                rest=contrast.rest,
                difference=contrast.difference,
                p=contrast.p,
                p_holm=h,
                p_bh=b,
                found=h < alpha,
                mirrored=test.mirrored,
            )
        )
    return tuple(differences), int((~np.isnan(p)).sum())
