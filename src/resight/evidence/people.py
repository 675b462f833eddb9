"""Pages about people and model: a deferral policy, a reader study, a worklist."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from resight.evidence.figures import Axis, Chart, Line, legend
from resight.evidence.page import Page, Section
from resight.evidence.plots import Figure, Group
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, number, plural
from resight.teaming import MultiReader, StudyResult, TeamResult, WorklistResult
from resight.types import MetricValue

_ENDS = np.array([0.0, 1.0])
_WHO = {"model": "Model alone", "readers": "Readers alone", "team": "Together"}


def team_page(results: Sequence[TeamResult]) -> Page:
    """What a policy does, one section a label."""
    return Page(
        kind="People and model",
        title=f"Deferral by the policy {results[0].policy}",
        lead="Whether model and readers together do better than either alone, on patients the policy was not tuned on.",
        sections=tuple(_team_section(result) for result in results),
    )


def study_page(results: Sequence[StudyResult]) -> Page:
    """A reader study, one section a label."""
    return Page(
        kind="Reader study",
        title=f"Reader study with {plural(len(results[0].arms), 'arm')}",
        lead="Arms are compared for other readers and other cases of the same kind (Obuchowski and Rockette).",
        sections=tuple(_study_section(result) for result in results),
    )


def worklist_page(result: WorklistResult, title: str) -> Page:
    """How long reports take in each order of reading."""
    head = ("Order", "Urgent, mean", "Urgent, 90th percentile", "Urgent but not flagged", "Others, mean", "By formula")
    rows = tuple(
        Row(
            (
                one.order,
                *(cell(v, 1) for v in (one.urgent_min, one.urgent_p90_min, one.missed_urgent_min, one.other_min)),
                number(result.theory_min[one.order], 1) if one.order in result.theory_min else "none",
            )
        )
        for one in result.waiting
    )
    changes = tuple(
        Row((order, cell(result.saved_min[order], 1), cell(result.cost_min[order], 1))) for order in result.saved_min
    )
    return Page(
        kind="Worklist simulation",
        title=title,
        lead=f"Readers read {number(100 * result.utilisation, 0)} % of their time. Minutes from arrival to report.",
        sections=(
            Section(
                "Waiting times",
                how="A simulation of one reading room; it says what sorting could do, not what it did.",
                tables=(
                    Table("Minutes to the report", head, rows),
                    Table("Against first come", ("Order", "Urgent sooner by", "Others later by"), changes),
                ),
            ),
        ),
    )


def _team_section(result: TeamResult) -> Section:
    rates = ("sensitivity", "specificity")
    head = ("", *(rate.capitalize() for rate in rates))
    rows = [Row((name, *(cell(result.rates[who][rate]) for rate in rates))) for who, name in _WHO.items()]
    rows += [
        Row((f"Together less {who.removeprefix('team - ')}", *(cell(values[rate]) for rate in rates)))
        for who, values in result.differences.items()
    ]
    work = (
        Row(("People who look at an image", cell(result.readings, 2))),
        Row(("Images the model settles alone", cell(result.read_by_nobody, 2))),
    )
    images, readers = plural(result.images, "image"), plural(result.readers, "reader")
    return Section(
        result.label,
        how=f"{images}, {readers}. Intervals by bootstrap over patients; they hold for these readers.",
        sentences=(_verdict(result),),
        charts=_team_charts(result),
        tables=(Table("Rates", head, tuple(rows)), Table("Work", ("", "Mean"), work)),
        notes=result.notes,
    )


def _verdict(result: TeamResult) -> str:
    """One careful sentence about the team against each partner."""
    said: list[str] = []
    for who, name in (("readers", "the readers"), ("model", "the model")):
        values = result.differences[f"team - {who}"]
        better = [rate for rate, v in values.items() if v.low > 0]
        worse = [rate for rate, v in values.items() if v.high < 0]
        parts = [f"higher {' and '.join(better)}" if better else "", f"lower {' and '.join(worse)}" if worse else ""]
        text = " but ".join(part for part in parts if part)
        said.append(f"{text} than {name} alone" if text else f"no clear difference from {name} alone")
    return f"Together: {said[0]}; {said[1]}."


def _team_charts(result: TeamResult) -> Group | None:
    if "model" not in result.curves:
        return None
    x, y = (np.asarray(axis, dtype=np.float64) for axis in result.curves["model"])
    readers: Mapping[str, Sequence[float]] = result.curves["readers"]
    points = np.array(list(readers.values())).reshape(-1, 2)
    team = result.rates["team"]
    lines = (
        Line("Chance", _ENDS, _ENDS, "reference"),
        Line("Model", x, y),
        Line("Readers", points[:, 0], points[:, 1], "second", dots=True, joined=False),
        Line(
            "Together",
            np.array([1 - team["specificity"].value]),
            np.array([team["sensitivity"].value]),
            "third",
            dots=True,
            joined=False,
        ),
    )
    chart = Chart(
        f"{result.label}: model, readers and both together",
        Axis("False alarms (1 − specificity)"),
        Axis("Sensitivity"),
        lines,
        (360, 320),
    )
    return Group((Figure("", chart.svg()),), legend(lines))


def _study_section(result: StudyResult) -> Section:
    tables = [_figure_table(name, found, result.arms) for name, found in result.figures.items()]
    if result.agreement:
        rows = tuple(Row((name, cell(value))) for name, value in result.agreement.items())
        tables.append(Table("Agreement of readers", ("Arm", "Kappa"), rows))
    if result.automation:
        rows = tuple(Row((_AUTOMATION[name], cell(value))) for name, value in vars(result.automation).items())
        tables.append(Table("Following the model", ("", "Share"), rows))
    if result.seconds:
        rows = tuple(Row((name, cell(value, 1))) for name, value in result.seconds.items())
        tables.append(Table("Reading time", ("Arm", "Seconds"), rows))
    notes = [f"{name}: {reason}" for name, reason in result.undefined.items()]
    if result.left_out:
        notes.append(f"{plural(result.left_out, 'image')} lack a reading or a reference and were left out.")
    how = f"{plural(result.cases, 'case')} read by everybody in every arm."
    return Section(result.label, how=how, tables=tuple(tables), notes=tuple(notes))


_AUTOMATION = {
    "followed_right": "Wrong readings mended where the model is right",
    "followed_wrong": "Right readings spoilt where the model is wrong",
    "commission": "False alarms of the model taken over",
    "omission": "Misses of the model taken over",
    "kept_right": "Right readings kept where the model is right",
}


def _figure_table(name: str, found: MultiReader, arms: tuple[str, ...]) -> Table:
    rows = [Row((arm, cell(value), "")) for arm, value in zip(arms, found.arms, strict=True)]
    for test in found.tests:
        for (earlier, later), value in test.differences.items():
            text = f"{arms[later]} less {arms[earlier]}, for other {test.generalises_to}"
            rows.append(Row((text, cell(value), _p(test.p))))
        if test.undefined_because:
            undefined = MetricValue.undefined(test.undefined_because)
            rows.append(Row((f"for other {test.generalises_to}", cell(undefined), "")))
    caption = f"{'AUROC' if name == 'auroc' else name.capitalize()}, mean over readers"
    return Table(caption, ("", "Value", "p"), tuple(rows))


def _p(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else number(p)
