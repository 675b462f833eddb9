"""Evaluations and comparisons as tables for people, and how values stand in such tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING

from resight.cli.console import result_table, say

if TYPE_CHECKING:
    from resight.evaluation import Evaluation, Prognosis
    from resight.experiments.inputs import InputReport
    from resight.types import MetricValue

_SHOWN = ("auroc", "auprc", "sensitivity", "specificity", "brier", "ece")
_BASELINE_METRICS = ("auroc", "accuracy", "balanced_accuracy")


def show_evaluation(evaluation: Evaluation, title: str) -> None:
    """Print one row per label, the macro means, the trivial baselines, and what must be said besides."""
    columns = [name for name in _SHOWN if any(name in label.metrics for label in evaluation.labels)]
    rows = [
        [label.label, f"{label.counts.positives}/{label.counts.negatives}", *_cells(label.metrics, columns)]
        for label in evaluation.labels
    ]
    if len(evaluation.labels) > 1:
        mean_of = f"mean of {evaluation.estimable}"
        rows.append([mean_of, "", *_cells(evaluation.macro, columns)])
    result_table(("label", "pos/neg", *columns), rows, title=title)
    if evaluation.overall:
        result_table(("most likely class", "value"), [(name, str(v)) for name, v in evaluation.overall.items()])
    alike: dict[tuple[str, ...], list[str]] = {}
    for baseline in evaluation.baselines:
        if any(name in baseline.metrics for name in _BASELINE_METRICS):
            cells = (baseline.label or "all", *_cells(baseline.metrics, _BASELINE_METRICS))
            alike.setdefault(cells, []).append(baseline.name)
    if alike:
        rows = [[", ".join(names), *cells] for cells, names in alike.items()]
        result_table(("without any image", "label", *_BASELINE_METRICS), rows)
    for note in evaluation.notes:
        say(f"note: {note}")


def show_prognosis(prognosis: Prognosis) -> None:
    """Print concordance, and one row per point in time."""
    title = f"{prognosis.events} events among {prognosis.images} rows of {prognosis.patients} patients"
    whole = [("Harrell", prognosis.harrell), ("Uno", prognosis.uno), ("integrated Brier", prognosis.integrated_brier)]
    result_table(("prognosis", "value"), [(name, str(value)) for name, value in whole], title=title)
    rows = [
        (
            f"{at.horizon:g}",
            str(at.auroc),
            str(at.brier),
            f"{at.brier_without_model:.3f}",
            f"{at.expected:.3f}",
            str(at.observed),
        )
        for at in prognosis.horizons
    ]
    result_table(("by time", "AUROC", "Brier", "Brier without model", "expected", "observed"), rows)
    for note in prognosis.notes:
        say(f"note: {note}")


def show_inputs(inputs: InputReport) -> None:
    """Print what is reached with each choice of inputs, and what all of them gain over it."""
    rows = [
        (arm.name, str(arm.value), "" if arm.gain is None else str(arm.gain), "" if arm.p != arm.p else f"{arm.p:.4f}")
        for arm in inputs.arms
    ]
    result_table(("inputs", inputs.metric, "gain of all inputs", "p"), rows)
    for sentence in inputs.sentences:
        say(sentence)


def estimate(value: MetricValue) -> str:
    """A value for a table, or that there is none and of how many."""
    return f"not estimable ({value.n})" if isnan(value.value) else str(value)


def p_value(value: float) -> str:
    """A p for a table; empty where there is none."""
    return "" if isnan(value) else f"{value:.4f}" if value >= 1e-4 else "<0.0001"


def _cells(metrics: Mapping[str, MetricValue], names: list[str] | tuple[str, ...]) -> list[str]:
    return [str(metrics[name]) if name in metrics else "" for name in names]
