"""Sections and pages about people and model together: a deferral policy, a worklist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from resight.evidence.figures import Axis, Chart, Line, legend
from resight.evidence.page import Page, Section
from resight.evidence.plots import FEW, Figure, Group
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, number, plural
from resight.teaming import TeamResult, Teams, WorklistResult

_ENDS = np.array([0.0, 1.0])
_SIZE = (360, 320)
_WHO = {"model": "Model alone", "readers": "Readers alone", "team": "Together"}


def team_page(teams: Teams) -> Page:
    """What a policy does, one section a label."""
    policy = teams.results[0].policy
    sections = [team_section(Teams((result,), {}), result.label) for result in teams.results]
    return Page(
        kind="People and model",
        title=f"Deferral by the policy {policy}",
        lead="Whether model and readers together do better than either alone, on patients the policy was not tuned on.",
        warnings=tuple(_not_estimable(teams)),
        sections=tuple(sections),
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


def team_section(teams: Teams, title: str) -> Section:
    """Model alone, readers alone and both together.

    Args:
        teams: of one policy; of several labels every row names its own, and only a few get charts.
        title: of the section.
    """
    results = teams.results
    several = len(results) > 1

    def named(result: TeamResult, name: str) -> str:
        return f"{result.label}: {name[0].lower()}{name[1:]}" if several else name

    rates = ("sensitivity", "specificity")
    shown = [
        (named(result, name), values)
        for result in results
        for name, values in (
            *((name, result.rates[who]) for who, name in _WHO.items()),
            *((f"Together less {who.removeprefix('team - ')}", v) for who, v in result.differences.items()),
        )
    ]
    rows = tuple(Row((name, *(cell(values[rate]) for rate in rates))) for name, values in shown)
    work = tuple(
        Row((named(result, what), cell(value, 2)))
        for result in results
        for what, value in (
            ("People who look at an image", result.readings),
            ("Images the model settles alone", result.read_by_nobody),
        )
    )
    notes = tuple(f"{result.label}: {note}" if several else note for result in results for note in result.notes)
    images, readers = (plural(max(getattr(r, what) for r in results), what[:-1]) for what in ("images", "readers"))
    return Section(
        title,
        how=f"{images}, {readers}; policy {results[0].policy}, tuned on other patients. Intervals by bootstrap over "
        "patients; they hold for these readers.",
        sentences=tuple(team_words(teams)),
        charts=_team_charts(results) if len(results) <= FEW else None,
        tables=(Table("Rates", ("", *map(str.capitalize, rates)), rows), Table("Work", ("", "Mean"), work)),
        notes=notes,
    )


def team_words(teams: Teams) -> Iterator[str]:
    """One sentence a label; of many labels, those in which something clearly differs."""
    told = [result for result in teams.results if len(teams.results) <= FEW or _differs(result)]
    for result in told:
        yield f"{result.label}, model and readers together: {_verdict(result)}"
    if len(told) < len(teams.results):
        yield f"No clear difference from either alone for {plural(len(teams.results) - len(told), 'other label')}."
    yield from _not_estimable(teams)


def _differs(result: TeamResult) -> bool:
    return any(v.low > 0 or v.high < 0 for values in result.differences.values() for v in values.values())


def _not_estimable(teams: Teams) -> Iterator[str]:
    for label, reason in teams.undefined.items():
        yield f"{label}: not estimable ({reason})."


def _verdict(result: TeamResult) -> str:
    """The team against each partner, in careful words."""
    said: list[str] = []
    for who, name in (("readers", "the readers"), ("model", "the model")):
        values = result.differences[f"team - {who}"]
        better = [rate for rate, v in values.items() if v.low > 0]
        worse = [rate for rate, v in values.items() if v.high < 0]
        parts = [f"higher {' and '.join(better)}" if better else "", f"lower {' and '.join(worse)}" if worse else ""]
        text = " but ".join(part for part in parts if part)
        said.append(f"{text} than {name} alone" if text else f"no clear difference from {name} alone")
    return f"{said[0]}; {said[1]}."


def _team_charts(results: Sequence[TeamResult]) -> Group | None:
    drawn = [(result.label, _team_lines(result)) for result in results if "model" in result.curves]
    axes = Axis("False alarms (1 − specificity)"), Axis("Sensitivity")
    figures = [
        Figure(
            name if len(drawn) > 1 else "",
            Chart(f"{name}: model, readers and both together", *axes, lines, _SIZE).svg(),
        )
        for name, lines in drawn
    ]
    return Group(tuple(figures), legend(drawn[0][1])) if drawn else None


def _team_lines(result: TeamResult) -> tuple[Line, ...]:
    x, y = (np.asarray(axis, dtype=np.float64) for axis in result.curves["model"])
    readers: Mapping[str, Sequence[float]] = result.curves["readers"]
    points = np.array(list(readers.values())).reshape(-1, 2)
    team = result.rates["team"]
    others = ()
    if "team" in result.curves:
        across, up = (np.asarray(axis, dtype=np.float64) for axis in result.curves["team"][:2])
        others = (Line("Together, other trade-offs", across, up, "third"),)
    return (
        Line("Chance", _ENDS, _ENDS, "reference"),
        Line("Model", x, y),
        *others,
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
