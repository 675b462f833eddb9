"""Which charts a report shows: curves of every label, an overview of many labels, and the course of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from resight.evaluation import Evaluation, LabelResult, OperatingResult
from resight.evidence.content import ReportContent
from resight.evidence.figures import Axis, Chart, Interval, Line, Style, Values, interval_plot, legend
from resight.evidence.wording import in_words, listed

FEW = 3
"""Up to so many labels get large charts; more get small ones side by side."""
_LARGE, _SMALL = (320, 290), (172, 160)
_ENDS = np.array([0.0, 1.0])

_Drawn = tuple[tuple[Line, ...], Axis, Axis]
_Draw = Callable[[LabelResult], _Drawn | None]
_Epoch = Mapping[str, float | None]


_MOST_GROUPS = 24
"""Rows of the chart of groups; the tables below it hold all."""


@dataclass(frozen=True)
class Figure:
    """One chart with the text around it."""

    head: str
    svg: Markup
    caption: str = ""


@dataclass(frozen=True)
class Group:
    """Charts of one kind with the legend they share; `note` says what has no chart, and the axes of small charts."""

    figures: tuple[Figure, ...]
    legend: Markup
    small: bool = False
    note: str = ""


def roc_charts(evaluation: Evaluation) -> Group:
    """Sensitivity against false alarms, with the operating points."""

    def draw(result: LabelResult) -> _Drawn | None:
        curve = result.curves.roc
        if curve is None or np.isnan(curve.y).any():
            return None
        chance = Line("Chance", _ENDS, _ENDS, "reference")
        points = [o for o in evaluation.operating if o.label == result.label]
        lines = (chance, Line("Model", curve.x, curve.y), *_operating_dots(points))
        return lines, Axis("False alarms (1 − specificity)"), Axis("Sensitivity")

    return _group(evaluation, "ROC curve", "auroc", draw)


def pr_charts(evaluation: Evaluation) -> Group:
    """PPV against sensitivity, with the share of positives as the line of chance."""

    def draw(result: LabelResult) -> _Drawn | None:
        curve = result.curves.pr
        if curve is None or np.isnan(curve.x).any():
            return None
        share = result.counts.positives / (result.counts.positives + result.counts.negatives)
        chance = Line("Share of positives", _ENDS, np.array([share, share]), "reference")
        return (chance, Line("Model", curve.x, curve.y)), Axis("Sensitivity (recall)"), Axis("PPV (precision)")

    return _group(evaluation, "Precision-recall curve", "auprc", draw)


def reliability_charts(evaluation: Evaluation) -> Group:
    """Share of positives against stated probability, bin by bin."""

    def draw(result: LabelResult) -> _Drawn | None:
        bins = result.curves.reliability
        if bins is None or len(bins.predicted) == 0:
            return None
        observed = Line(
            "Observed, with interval; larger dots hold more images",
            bins.predicted,
            np.array([value.value for value in bins.observed]),
            low=np.array([value.low for value in bins.observed]),
            high=np.array([value.high for value in bins.observed]),
            weights=np.asarray(bins.count, dtype=np.float64),
            dots=True,
            joined=False,
        )
        perfect = Line("Perfectly calibrated", _ENDS, _ENDS, "reference")
        return (perfect, observed), Axis("Stated probability"), Axis("Observed share of positives")

    return _group(evaluation, "Reliability diagram", "ece", draw)


def decision_charts(evaluation: Evaluation) -> Group:
    """Net benefit over the probability at which one would act."""

    def draw(result: LabelResult) -> _Drawn | None:
        curve = result.curves.decision
        if curve is None or not result.counts.positives or not result.counts.negatives:
            return None
        top = max(float(np.nanmax(curve.model)), float(np.nanmax(curve.treat_all)), 1e-3) * 1.1
        lines = (
            Line("Act on nobody", _ENDS, np.zeros(2), "reference"),
            Line("Act on everybody", curve.threshold, curve.treat_all, "second"),
            Line("Act on the model", curve.threshold, curve.model),
        )
        return lines, Axis("Probability at which one would act"), Axis("Net benefit", -0.25 * top, top)

    return _group(evaluation, "Decision curve", "", draw)


def overview(evaluation: Evaluation) -> Markup | None:
    """AUROC of all labels below each other, beside what metadata alone reach; None for a single label."""
    if len(evaluation.labels) < 2:
        return None
    metadata = {b.label: b.metrics["auroc"].value for b in evaluation.baselines if "auroc" in b.metrics}
    values = [(r.label, r.metrics.get("auroc"), metadata.get(r.label, math.nan)) for r in evaluation.labels]
    if "auroc" in evaluation.macro:
        values.append(("Mean of labels", evaluation.macro["auroc"], math.nan))
    rows = [Interval(label, v, reference, in_words(v)) for label, v, reference in values if v is not None]
    edges = [e for row in rows for e in (row.value.low, row.value.value, row.reference, 0.5) if not math.isnan(e)]
    lowest = max(0.0, math.floor(min(edges, default=0.0) * 10) / 10)
    return interval_plot("AUROC of every label with its interval", rows, Axis("AUROC", lowest, 1.0))


def group_chart(content: ReportContent) -> Markup | None:
    """AUROC by group below each other, the labels with most positives first; None where no group has one."""
    known = [row for row in content.subgroups if not math.isnan(row.metrics["auroc"].value)]
    positives: dict[str, int] = {}
    for row in known:
        positives[row.label] = positives.get(row.label, 0) + row.positives
    labels = sorted(positives, key=lambda label: -positives[label])
    ordered = sorted(known, key=lambda row: labels.index(row.label))[:_MOST_GROUPS]
    if not ordered:
        return None
    single = len(content.evaluation.labels) == 1
    rows = [
        Interval(
            f"{row.attribute} {row.group}" + ("" if single else f", {row.label}"),
            row.metrics["auroc"],
            note=in_words(row.metrics["auroc"]),
        )
        for row in ordered
    ]
    edges = [edge for row in rows for edge in (row.value.low, row.value.value, 0.5) if not math.isnan(edge)]
    lowest = max(0.0, math.floor(min(edges) * 10) / 10)
    return interval_plot("AUROC of every group with its interval", rows, Axis("AUROC", lowest, 1.0))


def training_charts(content: ReportContent) -> Group:
    """Losses and validation AUROC over the epochs, one line a network."""
    best = dict(enumerate(content.best_epochs))
    losses: list[Line] = []
    ranking: list[Line] = []
    for member, history in enumerate(content.histories):
        losses += _course(history, "loss", "Training", "second")
        losses += _course(history, "validation_loss", "Validation", "model", best.get(member))
        ranking += _course(history, "validation_auroc", "Validation", "model", best.get(member))
    wanted = (("Loss", "Loss over the epochs", losses), ("AUROC", "Validation AUROC over the epochs", ranking))
    figures = [
        Figure(title, Chart(title, _epochs(lines), _fitted(name, lines), tuple(lines), _LARGE).svg())
        for name, title, lines in wanted
        if lines
    ]
    return Group(tuple(figures), legend([*losses, *ranking]))


def _group(evaluation: Evaluation, kind: str, metric: str, draw: _Draw) -> Group:
    small = len(evaluation.labels) > FEW
    figures: list[Figure] = []
    shown: dict[str, Line] = {}
    missing: list[str] = []
    axes = ""
    for result in evaluation.labels:
        drawn = draw(result)
        if drawn is None:
            missing.append(result.label)
            continue
        lines, x, y = drawn
        shown |= {line.name: line for line in lines}
        if small:
            axes = f"Across: {_lower(x.label)}. Up: {_lower(y.label)}."
            x, y = Axis("", x.low, x.high, (0.0, 0.5, 1.0)), Axis("", y.low, y.high)
        chart = Chart(f"{kind} of {result.label}", x, y, lines, _SMALL if small else _LARGE)
        value = result.metrics.get(metric)
        caption = f"{metric.upper()} {in_words(value)}" if value is not None else ""
        figures.append(Figure(result.label, chart.svg(), caption))
    none = f"No curve for {listed(missing)}: not estimable." if missing else ""
    return Group(tuple(figures), legend(list(shown.values())), small, f"{axes} {none}".strip())


def _operating_dots(points: Iterable[OperatingResult]) -> list[Line]:
    places = [(1 - p.metrics["specificity"].value, p.metrics["sensitivity"].value) for p in points]
    known = [place for place in places if not any(map(math.isnan, place))]
    if not known:
        return []
    x, y = np.array(known).T
    return [Line("Operating points", x, y, "second", dots=True, joined=False)]


def _course(history: Sequence[_Epoch], key: str, name: str, style: Style, best: int | None = None) -> list[Line]:
    epochs = np.array([_or_nan(entry.get("epoch", number)) for number, entry in enumerate(history)])
    values = np.array([_or_nan(entry.get(key)) for entry in history])
    if not np.isfinite(values).any():
        return []
    lines = [Line(name, epochs, values, style, dots=len(history) == 1)]
    kept = (epochs == best) & np.isfinite(values)
    if best is not None and kept.any():
        lines.append(Line("Epoch that was kept", epochs[kept], values[kept], "third", dots=True, joined=False))
    return lines


def _epochs(lines: Sequence[Line]) -> Axis:
    low, high = _range([line.x for line in lines])
    most = 5
    step = max(1, math.ceil((high - low) / most))
    return Axis("Epoch", low, max(high, low + 1), tuple(np.arange(low, high + 1, step).tolist()))


def _fitted(label: str, lines: Sequence[Line]) -> Axis:
    low, high = _range([line.y for line in lines])
    room = 0.06 * (high - low) or 0.05
    return Axis(label, low - room, high + room)


def _range(parts: Sequence[Values]) -> tuple[float, float]:
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    return float(values.min()), float(values.max())


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _lower(label: str) -> str:
    return label if label[:2].isupper() else label[:1].lower() + label[1:]
