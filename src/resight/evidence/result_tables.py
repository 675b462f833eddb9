"""Tables of results: every metric with its interval, beside what is reached without looking at an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from resight.evaluation import Baseline, Confusion, Evaluation, OperatingPoint, OperatingResult
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, metric_name, number, whole
from resight.types import MetricValue

_RANKING = ("auroc", "auprc", "partial_auroc")
_PROBABILITY = ("brier", "log_loss", "ece", "debiased_rms_error", "calibration_slope", "calibration_intercept")
_DETAILS = {"partial_auroc", "log_loss", "debiased_rms_error"}
"""Shown for a single label only: a table of many labels would not fit the page."""
_NO_MEAN = {"calibration_slope", "calibration_intercept"}
"""Too high for one label and too low for another would cancel out."""
_DECISION = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
_NONE = "–"
"""Stands where a metric has no meaning, so that no cell is empty."""
_BASELINE_NAMES = {
    "metadata": "Metadata only",
    "prevalence": "Share of positives",
    "majority": "Majority",
    "all-negative": "All negative",
}


def result_tables(evaluation: Evaluation) -> list[Table]:
    """Ranking metrics, and for a multiclass task also those of the most likely class."""
    known = dict.fromkeys(name for result in evaluation.labels for name in result.metrics)
    points = [name for name in known if "_at_" in name]
    tables: list[Table] = []
    if evaluation.overall:
        tables.append(
            _single("Most likely class", evaluation.overall, evaluation.baselines, list(evaluation.overall), "")
        )
    names = [name for name in (*_RANKING, *points) if name in known]
    return [*tables, *_metric_tables("Ranking of images", evaluation, names, ("auroc", "auprc"))]


def calibration_tables(evaluation: Evaluation) -> list[Table]:
    """Metrics of probabilities."""
    known = {name for result in evaluation.labels for name in result.metrics}
    names = [name for name in _PROBABILITY if name in known]
    return _metric_tables("Quality of probabilities", evaluation, names, ("brier",))


def operating_tables(evaluation: Evaluation, points: Sequence[OperatingPoint]) -> list[Table]:
    """Confusion counts and rates at every operating point: one table, or one an operating point for many labels.

    Operating points that decide everything alike, as those of a model that makes no mistake, are told once.

    Args:
        evaluation: the results.
        points: how the thresholds were chosen; gives those the results do not know.
    """
    by_name: dict[str, list[OperatingResult]] = {}
    for result in evaluation.operating:
        by_name.setdefault(result.name, []).append(result)
    alike: dict[tuple[tuple[str, float, Confusion], ...], list[list[OperatingResult]]] = {}
    for results in by_name.values():
        alike.setdefault(tuple((r.label, r.threshold, r.confusion) for r in results), []).append(results)
    shared = [(", ".join(results[0].name for results in same), same) for same in alike.values()]
    if len(evaluation.labels) == 1:
        lines = [(names, [results[0] for results in same]) for names, same in shared]
        groups = [("Operating points", "Operating point", lines)] if lines else []
    else:
        groups = [
            (f"Operating point: {names}", "Label", [(line[0].label, line) for line in zip(*same, strict=True)])
            for names, same in shared
        ]
    majority = {b.label: b.metrics["accuracy"] for b in evaluation.baselines if b.name == "majority" and b.label}
    chosen = {(point.name, point.label): point for point in points}
    return [_operating_table(*group, majority, chosen) for group in groups]


def threshold_of(result: OperatingResult, points: Mapping[tuple[str, str], OperatingPoint]) -> float:
    """The threshold of a result, or of the operating point it was decided at; NaN where neither is known."""
    point = points.get((result.name, result.label))
    return point.threshold if math.isnan(result.threshold) and point else result.threshold


def _operating_table(
    caption: str,
    heading: str,
    lines: Sequence[tuple[str, Sequence[OperatingResult]]],
    majority: Mapping[str, MetricValue],
    points: Mapping[tuple[str, str], OperatingPoint],
) -> Table:
    head = (heading, "Threshold", "Found", "Missed", "False alarms", "Rightly negative", *map(metric_name, _DECISION))
    rows = [
        Row(
            (
                name,
                "not recorded" if math.isnan(cut := threshold_of(result, points)) else number(cut),
                whole(result.confusion.true_positives),
                whole(result.confusion.false_negatives),
                whole(result.confusion.false_positives),
                whole(result.confusion.true_negatives),
                *(cell(result.metrics.get(metric), digits=2) for metric in _DECISION),
                *((_plain(majority.get(result.label)),) if majority else ()),
            )
        )
        for name, (result, *_) in lines
    ]
    notes = [
        f"{result.name}, {result.label}: {point.note}."
        for _, results in lines
        for result in results
        if (point := points.get((result.name, result.label))) and point.note
    ]
    return Table(
        caption, (*head, "Accuracy of the commoner answer") if majority else head, tuple(rows), " ".join(notes)
    )


def _plain(value: MetricValue | None) -> str:
    """A constant answer's rate, without interval: it stands there to compare with."""
    return _NONE if value is None or math.isnan(value.value) else number(value.value, 2)


def _metric_tables(caption: str, evaluation: Evaluation, names: Sequence[str], compared: Sequence[str]) -> list[Table]:
    """Metrics down the side for one label, labels down the side for many."""
    if not names:
        return []
    if len(evaluation.labels) == 1:
        result = evaluation.labels[0]
        return [_single(caption, result.metrics, evaluation.baselines, names, result.label)]
    names = [name for name in names if name not in _DETAILS]
    beside = {name: _best_baseline(evaluation.baselines, name) for name in compared if name in names}
    head: list[str] = ["Label", "Positives"]
    for name in names:
        head.append(metric_name(name))
        if baseline := beside.get(name):
            head.append(f"{metric_name(name)}, {_BASELINE_NAMES[baseline].lower()}")
    rows: list[Row] = []
    for result in evaluation.labels:
        counts = result.counts
        cells: list[str | Markup] = [
            result.label,
            f"{whole(counts.positives)} of {whole(counts.positives + counts.negatives)}",
        ]
        for name in names:
            cells.append(cell(result.metrics.get(name), digits=_digits(name)))
            if baseline := beside.get(name):
                cells.append(cell(_of(evaluation.baselines, baseline, result.label).get(name)))
        rows.append(Row(tuple(cells)))
    if evaluation.macro:
        mean: list[str | Markup] = ["Mean where estimable", _NONE]
        for name in names:
            shown = name in evaluation.macro and name not in _NO_MEAN
            mean.append(cell(evaluation.macro[name], digits=_digits(name)) if shown else _NONE)
            mean += [_NONE] if beside.get(name) else []
        rows.append(Row(tuple(mean), "overall"))
    return [Table(caption, tuple(head), tuple(rows), _baseline_note(evaluation.baselines, set(beside.values())))]


def _single(
    caption: str, metrics: Mapping[str, MetricValue], baselines: Sequence[Baseline], names: Sequence[str], label: str
) -> Table:
    columns = [b for b in baselines if b.label == label and any(name in b.metrics for name in names)]
    head = ("Metric", "This model", *(_BASELINE_NAMES.get(b.name, b.name) for b in columns))
    rows = [
        Row(
            (
                metric_name(name),
                cell(metrics.get(name)),
                *(cell(b.metrics[name]) if name in b.metrics else _NONE for b in columns),
            )
        )
        for name in names
    ]
    return Table(caption, head, tuple(rows), _baseline_note(columns, {b.name for b in columns}))


def _digits(name: str) -> int:
    """Rates of few hundred images have two digits that mean something."""
    return 2 if "_at_" in name else 3


def _best_baseline(baselines: Sequence[Baseline], metric: str) -> str | None:
    """Which baseline to stand beside a metric: the constant answer where it has one, else the metadata."""
    offered = {b.name for b in baselines if metric in b.metrics}
    return next((name for name in ("prevalence", "metadata") if name in offered), None)


def _of(baselines: Sequence[Baseline], name: str, label: str) -> Mapping[str, MetricValue]:
    return next((b.metrics for b in baselines if (b.name, b.label) == (name, label)), {})


def _baseline_note(baselines: Sequence[Baseline], names: set[str | None]) -> str:
    notes = dict.fromkeys(
        f"{_BASELINE_NAMES.get(b.name, b.name)}: {b.note}." for b in baselines if b.note and b.name in names
    )
    return " ".join(notes)
