"""Report on several inputs and on times to an event: what each input adds, and how good the prognosis is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from resight.evaluation import Prognosis
from resight.evidence.content import InputRow
from resight.evidence.figures import Axis, Chart, Line, Style, legend
from resight.evidence.plots import Figure, Group
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, number

_NONE = "–"
_WEIGHTED = "Weighted for censoring; expected is the mean forecast."
_STYLES: tuple[Style, ...] = ("second", "third", "model")
_SIZE = (320, 290)


def input_tables(rows: Sequence[InputRow], *, prognosis: bool) -> list[Table]:
    """One table: every choice of inputs, its value, and the gain of all inputs over it."""
    if not rows:
        return []
    head = ("Inputs", "Concordance (Uno)" if prognosis else "AUROC", "Gain of all inputs", "p", "Answered by")
    cells = [
        Row(
            (
                row.name,
                cell(row.value),
                cell(row.gain) if row.gain is not None else _NONE,
                _NONE if math.isnan(row.p) else "< 0.001" if row.p < 0.001 else number(row.p),
                row.how,
            )
        )
        for row in rows
    ]
    note = "The same images throughout; the gain has a paired interval. Hidden inputs are shown as missing."
    return [Table("What each input adds", head, tuple(cells), note)]


def prognosis_tables(prognosis: Prognosis | None) -> list[Table]:
    """Concordance, and each horizon."""
    if prognosis is None:
        return []
    whole = [
        Row(("Concordance (Harrell)", cell(prognosis.harrell))),
        Row(("Concordance (Uno)", cell(prognosis.uno))),
        Row(("Integrated Brier score", cell(prognosis.integrated_brier))),
    ]
    counts = f"{prognosis.events} events among {prognosis.images} rows of {prognosis.patients} patients."
    head = ("By time", "AUROC", "Brier score", "Brier score without model", "Expected", "Observed (Kaplan-Meier)")
    rows = [
        Row(
            (
                f"{at.horizon:g}",
                cell(at.auroc),
                cell(at.brier),
                number(at.brier_without_model),
                number(at.expected),
                cell(at.observed),
            )
        )
        for at in prognosis.horizons
    ]
    return [
        Table("Prognosis", ("Metric", "This model"), tuple(whole), counts),
        Table("Prognosis by point in time", head, tuple(rows), _WEIGHTED),
    ]


def prognosis_charts(prognosis: Prognosis | None) -> Group:
    """Kaplan-Meier curves in thirds of risk, and expected against observed chance at the middle horizon."""
    if prognosis is None:
        return Group((), legend([]))
    end = prognosis.horizons[-1].horizon
    lines = []
    for (name, curve), style in zip(prognosis.curves.items(), _STYLES, strict=True):
        inside = curve["time"] <= end
        x = np.concatenate([[0.0], np.repeat(curve["time"][inside], 2), [end]])
        y = np.concatenate([[1.0, 1.0], np.repeat(curve["survival"][inside], 2)])
        lines.append(Line(f"{name.capitalize()} risk", x, y, style))
    title = "Kaplan-Meier curves in thirds of predicted risk"
    chart = Chart(title, Axis("Time", 0.0, end), Axis("Free of the event"), tuple(lines), _SIZE)
    middle = prognosis.horizons[len(prognosis.horizons) // 2]
    known = [(expected, seen) for expected, seen in middle.by_risk if not math.isnan(seen.value)]
    figures = [Figure("By risk", chart.svg(), "Thirds of the predicted risk; curves that lie apart tell risks apart.")]
    if known:
        expected = np.array([one for one, _ in known])
        seen = np.array([one.value for _, one in known])
        low, high = (np.array([getattr(one, side) for _, one in known]) for side in ("low", "high"))
        right = Line("Right", np.array([0.0, 1.0]), np.array([0.0, 1.0]), "reference")
        dots = Line("Thirds of risk", expected, seen, "model", low=low, high=high, dots=True, joined=False)
        title = f"Expected against observed chance by {middle.horizon:g}"
        drawn = Chart(title, Axis("Expected"), Axis("Observed"), (right, dots), _SIZE)
        figures.append(Figure("Calibration", drawn.svg(), f"Chance of the event by {middle.horizon:g}."))
        lines += [right, dots]
    return Group(tuple(figures), legend(lines))
