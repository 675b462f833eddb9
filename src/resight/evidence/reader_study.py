"""A reader study on a page of its own, and in short for a report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from resight.evidence.page import Page, Section
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, metric_name, number, plural
from resight.teaming import MultiReader, StudyResult
from resight.types import MetricValue


def study_page(results: Sequence[StudyResult]) -> Page:
    """A reader study, one section a label."""
    return Page(
        kind="Reader study",
        title=f"Reader study with {plural(len(results[0].arms), 'arm')}",
        lead="Arms are compared for other readers and other cases of the same kind (Obuchowski and Rockette).",
        sections=tuple(_label_section(result) for result in results),
    )


def studies_section(results: Sequence[StudyResult], title: str) -> Section:
    """Arms compared in short, all labels in one table; `study_page` says more."""
    rows: list[Row] = []
    notes: list[str] = []
    for result in results:
        for figure, found in result.figures.items():
            test = next(test for test in found.tests if test.generalises_to == "readers and cases")
            for (earlier, later), difference in test.differences.items():
                pair = f", {result.arms[later]} less {result.arms[earlier]}" if len(result.arms) > 2 else ""
                values = (found.arms[earlier], found.arms[later], difference)
                rows.append(Row((f"{result.label}: {metric_name(figure)}{pair}", *map(cell, values), _p(test.p))))
            if test.undefined_because:
                notes.append(f"{result.label}, {metric_name(figure)}: not estimable ({test.undefined_because}).")
        notes += [f"{result.label}, {note}" for note in _left_out(result)]
    arms = results[0].arms
    names = map(str.capitalize, arms) if len(arms) == 2 else ("Earlier", "Later")
    tables = [Table("Means over readers", ("", *names, "Difference", "p"), tuple(rows))]
    following = [
        Row((f"{result.label}: {_AUTOMATION[name][0].lower()}{_AUTOMATION[name][1:]}", cell(value)))
        for result in results
        for name, value in (vars(result.automation).items() if result.automation else ())
        if name.startswith("followed")
    ]
    if following:
        tables.append(Table("Following the model", ("", "Share"), tuple(following)))
    cases = plural(max(result.cases for result in results), "case")
    how = f"Up to {cases} read by everybody in every arm; differences for other readers and other cases."
    return Section(title, how=how, tables=tuple(tables), notes=tuple(notes))


def _label_section(result: StudyResult) -> Section:
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
    how = f"{plural(result.cases, 'case')} read by everybody in every arm."
    return Section(result.label, how=how, tables=tuple(tables), notes=tuple(_left_out(result)))


def _left_out(result: StudyResult) -> Iterator[str]:
    for name, reason in result.undefined.items():
        yield f"{metric_name(name)}: not estimable ({reason})."
    if result.left_out:
        yield f"{plural(result.left_out, 'image')} lack a reading or a reference and were left out."


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
    caption = f"{metric_name(name)}, mean over readers"
    return Table(caption, ("", "Value", "p"), tuple(rows))


def _p(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else number(p)
