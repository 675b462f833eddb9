"""The report's section on doubt: sets that hold the truth as promised, and answering only when sure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from resight.evaluation import Conformal, Uncertainty
from resight.evidence.figures import Axis, Chart, Line, legend
from resight.evidence.page import Section
from resight.evidence.plots import FEW, Figure, Group
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, listed, number
from resight.types import MetricValue


def doubt_section(found: Uncertainty, conformal: Conformal, labels: tuple[str, ...]) -> Section:
    """Coverage of sets, also by class and group, and the risk of answering the surest images alone.

    Args:
        found: what was judged.
        conformal: the thresholds of the sets.
        labels: names of the labels.
    """
    tables: list[Table] = []
    sentences: list[str] = []
    if found.sets is not None:
        sets = found.sets
        sentences.append(_promise(sets.promised, sets.recall))
        if conformal.rule is not None:
            sentences.append(
                f"Each group by {conformal.rule.by} has thresholds of its own, so that this holds within the group, "
                "too. Images of no known group get the lowest threshold of any group, which makes the largest sets."
            )
        head = ("", "Held the truth", "Answers left, mean")
        rows = [Row((name, cell(value), number(sets.size[name], 2))) for name, value in sets.coverage.items()]
        rows += [Row((name, cell(value), "")) for name, value in sets.by_class.items()]
        tables.append(Table("Sets of answers", head, tuple(rows)))
        if sets.by_group:
            groups = tuple(Row((name, cell(value))) for name, value in sets.by_group.items())
            tables.append(Table("Sets by group", ("Group", "Held the truth"), groups))
    head = ("", "Area under the curve", "Wrong, all answered", "Wrong, surest 80 %", "Wrong, surest 50 %")
    rows = [
        Row((name, *(cell(v) for v in (curve.aurc, *(curve.at.get(share) for share in (1.0, 0.8, 0.5))))))
        for name, curve in found.selective.items()
    ]
    tables.append(Table("Answering only when sure", head, tuple(rows)))
    sentences += _confidence(found)
    return Section(
        "Doubt",
        how="A model that knows when it does not know can leave those images to people.",
        sentences=tuple(sentences),
        charts=_charts(found),
        tables=tuple(tables),
        notes=tuple(conformal.notes(labels)),
    )


def _promise(promised: float, recall: MetricValue | None) -> str:
    share = number(100 * promised, 0)
    if recall is not None:
        return f"Sets are made to hold {share} % of an image's findings on average; they held {recall}."
    return f"Sets are made to hold the truth for {share} % of new patients like those of the validation images."


def _confidence(found: Uncertainty) -> Iterator[str]:
    blind = [name for name, curve in found.selective.items() if curve.gain.low <= 0]
    if blind:
        yield (
            f"{listed(blind)}: that the surest half is wrong less often than all may be chance, so confidence is not "
            "shown to tell right from wrong."
        )
    if misled := [name for name, curve in found.selective.items() if curve.misleads]:
        yield f"{listed(misled)}: of the surer answers more are wrong, beyond chance; confidence misleads."


def _charts(found: Uncertainty) -> Group | None:
    curves = {name: curve for name, curve in found.selective.items() if len(curve.coverage)}
    if not curves or len(curves) > FEW:
        return None
    figures: list[Figure] = []
    lines: tuple[Line, ...] = ()
    for name, curve in curves.items():
        everything = np.full(2, curve.risk[-1])
        lines = (
            Line("Answering everything", np.array([0.0, 1.0]), everything, "reference"),
            Line("Surest first", curve.coverage, curve.risk),
        )
        top = max(float(curve.risk.max()), 0.05)
        chart = Chart(f"{name}: risk against coverage", Axis("Share answered"), Axis("Share wrong", 0, top), lines)
        figures.append(Figure(name if len(curves) > 1 else "", chart.svg()))
    return Group(tuple(figures), legend(lines))
