"""A predictions table in, every number of the report out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from resight.errors import PredictionsError
from resight.evaluation.baselines import baselines
from resight.evaluation.calibration import brier_parts, reliability
from resight.evaluation.decisions import confusion
from resight.evaluation.discrimination import Values, pr_curve, roc_curve, why_undefined
from resight.evaluation.measures import (
    Block,
    class_blocks,
    decision_block,
    macro_means,
    probability_block,
    ranking_block,
    resample,
)
from resight.evaluation.net_benefit import decision_curve
from resight.evaluation.operating_points import OperatingPoint, decide
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.resampling import patient_index
from resight.evaluation.results import Counts, Curves, Evaluation, LabelResult, OperatingResult
from resight.evaluation.rows import assumed_decisions, hard_mask, select_split
from resight.predictions import Predictions
from resight.types import Mask, Scores, Targets


@dataclass(frozen=True)
class _Decisions:
    """Decisions of all labels at one operating point."""

    name: str
    thresholds: Float[np.ndarray, " L"]
    array: Float[np.ndarray, "N L"]


@dataclass(frozen=True)
class _Case:
    """The rows that are evaluated, as arrays."""

    labels: tuple[str, ...]
    targets: Targets
    mask: Mask
    scores: Scores
    probabilities: Scores | None
    decisions: tuple[_Decisions, ...]
    patients: Int[np.ndarray, " N"]
    options: EvaluationOptions

    def rows(self, column: int, *also: Values) -> Bool[np.ndarray, " N"]:
        """Rows of a label that count and hold all of `also`."""
        return np.logical_and.reduce([self.mask[:, column], *(~np.isnan(values) for values in also)])


def evaluate(
    predictions: Predictions,
    options: EvaluationOptions | None = None,
    *,
    operating_points: Sequence[OperatingPoint] = (),
) -> Evaluation:
    """Evaluate a predictions table.

    Ranking metrics rest on `score`, the others on `probability` where the table has it and else on `score` if that lies
    in [0, 1]. Decisions are those of the table, else those at the first of `operating_points`, else 0.5 (the most
    likely class for a multiclass task), and the notes say which. Targets between 0 and 1 do not count.

    Intervals: AUROC by DeLong (by patient where patients repeat); accuracy, sensitivity, specificity, PPV and NPV exact
    (Clopper-Pearson, or Korn-Graubard where patients repeat); calibration slope and intercept by the sandwich over
    patients; all else, and every macro mean, by percentiles of the bootstrap by patient. Each value names its own.

    Args:
        predictions: the table; where it has a `split` column, the test rows are evaluated and train and validation rows
            serve the baselines.
        options: intervals, bins, fixed points.
        operating_points: thresholds chosen on validation data; each is evaluated on its own.

    Raises:
        PredictionsError: no targets, no such split, no row that counts, or an operating point lacks a label.
    """
    options = options or EvaluationOptions()
    chosen, development, notes = select_split(predictions, options.split)
    case = _case(chosen, operating_points, options, notes)
    n_patients = int(case.patients.max()) + 1
    by_label = [_measure(case, column) for column in range(len(case.labels))]
    overall = _overall(case) if chosen.task == "multiclass" else []
    resample([*(b for blocks in by_label for b in blocks), *overall], case.patients, n_patients, options)
    for column, label in enumerate(case.labels):
        if reason := why_undefined(case.targets[case.mask[:, column], column]):
            notes.append(f"{label}: not estimable: {reason}")
    own = 1 + (case.probabilities is not None) + bool(case.decisions)
    macro = [macro_means(alike, options.confidence) for alike in list(zip(*by_label, strict=True))[:own]]
    n_decisions = len(case.decisions)
    return Evaluation(
        task=chosen.task,
        labels=tuple(_label_result(case, column, blocks[:own]) for column, blocks in enumerate(by_label)),
        macro={name: value for means in macro for name, value in means.items()},
        estimable=sum(not np.isnan(blocks[0].values["auroc"].value) for blocks in by_label),
        overall={name: value for block in overall for name, value in block.values.items()},
        operating=tuple(
            _operating_result(case, column, decisions, by_label[column][number - n_decisions])
            for number, decisions in enumerate(case.decisions)
            for column in range(len(case.labels))
        ),
        baselines=baselines(chosen, development, options) if options.baselines else (),
        notes=tuple(notes),
        images=len(chosen),
        patients=n_patients,
        confidence=options.confidence,
    )


def _case(
    predictions: Predictions,
    operating_points: Sequence[OperatingPoint],
    options: EvaluationOptions,
    notes: list[str],
) -> _Case:
    if "target" not in predictions.table.columns or not predictions.mask().any():
        raise PredictionsError("no row with a target that counts", expected="a column 'target' with 0 and 1")
    mask = hard_mask(predictions)
    if softened := int((predictions.mask() & ~mask).sum()):
        notes.append(f"{softened} targets between 0 and 1 do not count")
    if "patient_id" not in predictions.table.columns:
        notes.append("No patients given: every image counts as a patient, so intervals may be too narrow")
    scores, probabilities = predictions.array("score"), predictions.probabilities()
    if unscored := int(np.isnan(scores).all(axis=1).sum()):
        notes.append(f"{unscored} images without any score do not count")
    trusted = not np.any((probabilities[mask] < 0) | (probabilities[mask] > 1))
    if not trusted:
        notes.append("Scores outside 0 to 1 are no probabilities: calibration is not evaluated")
    elif not predictions.has("probability"):
        notes.append("No calibrated probabilities: the scores are taken for probabilities")
    decisions = _decisions(predictions, probabilities if trusted else None, operating_points, notes)
    return _Case(
        labels=predictions.labels,
        targets=predictions.targets(),
        mask=mask,
        scores=scores,
        probabilities=probabilities if trusted else None,
        decisions=tuple(decisions),
        patients=patient_index(predictions.groups())[0],
        options=options,
    )


def _decisions(
    predictions: Predictions,
    probabilities: Scores | None,
    operating_points: Sequence[OperatingPoint],
    notes: list[str],
) -> list[_Decisions]:
    labels = predictions.labels
    found: list[_Decisions] = []

    def thresholds(name: str) -> Float[np.ndarray, " L"]:
        cut = {point.label: point.threshold for point in operating_points if point.name == name}
        return np.array([cut.get(label, np.nan) for label in labels])

    if predictions.has("decision"):
        name = "as in the table"
        if predictions.has("operating_point"):
            name = str(predictions.table["operating_point"].dropna().iloc[0])
        found.append(_Decisions(name, thresholds(name), predictions.array("decision")))
    for name in dict.fromkeys(point.name for point in operating_points):
        if probabilities is None or any(d.name == name for d in found):
            continue
        found.append(_Decisions(name, thresholds(name), decide(probabilities, labels, operating_points, name)))
    if not found and (assumed := assumed_decisions(predictions, probabilities)):
        notes.append(assumed.note)
        found.append(_Decisions(assumed.name, np.full(len(labels), assumed.threshold), assumed.array))
    elif not found:
        notes.append("No decisions in the table, and no probabilities to make them from")
    return found


def _measure(case: _Case, column: int) -> list[Block]:
    """Ranking, probabilities where there are any, then every operating point."""
    options = case.options
    rows, scores = case.rows(column), case.scores[:, column]
    blocks = [ranking_block(rows, case.targets[rows, column], scores[rows], case.patients[rows], options)]
    if case.probabilities is not None:
        p = case.probabilities[:, column]
        rows = case.rows(column, p)
        blocks.append(probability_block(rows, case.targets[rows, column], p[rows], case.patients[rows], options))
    for decisions in case.decisions:
        called = decisions.array[:, column]
        rows = case.rows(column, called)
        blocks.append(decision_block(rows, case.targets[rows, column], called[rows], case.patients[rows], options))
    return blocks


def _overall(case: _Case) -> list[Block]:
    """Rows of a multiclass task with exactly one class, and what the most likely class is worth on them."""
    scores = case.scores if case.probabilities is None else case.probabilities
    known = case.mask & ~np.isnan(scores)
    rows: Bool[np.ndarray, " N"] = known.all(axis=1) & (np.where(known, case.targets, 0).sum(axis=1) == 1)
    if not rows.any():
        return []
    classes = case.targets[rows].argmax(axis=1)
    return class_blocks(
        rows, classes, scores[rows], case.patients[rows], case.options, calibrated=case.probabilities is not None
    )


def _label_result(case: _Case, column: int, blocks: Sequence[Block]) -> LabelResult:
    options, rows = case.options, case.mask[:, column]
    y = case.targets[rows, column]
    positives = int(y.sum())
    counts = Counts(positives, len(y) - positives, int((~rows).sum()), len(np.unique(case.patients[rows])))
    metrics = {name: value for block in blocks for name, value in block.values.items()}
    curves, parts = Curves(), None
    if not why_undefined(y):
        scores = case.scores[rows, column]
        thinned = [curve(y, scores).thinned(options.curve_points) for curve in (roc_curve, pr_curve)]
        curves = Curves(roc=thinned[0], pr=thinned[1])
    if case.probabilities is not None and (rows := case.rows(column, case.probabilities[:, column])).any():
        y, p, owner = case.targets[rows, column], case.probabilities[rows, column], case.patients[rows]
        bins = {"bins": options.ece_bins, "binning": options.ece_binning}
        parts = brier_parts(y, p, **bins)
        observed = reliability(y, p, owner, **bins, confidence=options.confidence)
        curves = Curves(curves.roc, curves.pr, observed, decision_curve(y, p))
    return LabelResult(case.labels[column], counts, metrics, curves, parts)


def _operating_result(case: _Case, column: int, decisions: _Decisions, block: Block) -> OperatingResult:
    rows = block.rows
    return OperatingResult(
        name=decisions.name,
        label=case.labels[column],
        threshold=float(decisions.thresholds[column]),
        confusion=confusion(case.targets[rows, column], decisions.array[rows, column]),
        metrics=block.values,
    )
