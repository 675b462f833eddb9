"""The report: one HTML file that holds everything it shows and works without network and without scripts."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from resight.evidence import input_tables, plots, result_tables, summary, tables
from resight.evidence.content import Example, ReportContent
from resight.evidence.page import asset, environment, write_html
from resight.evidence.pictures import data_uris
from resight.evidence.theme import style_variables
from resight.evidence.wording import GLOSSARY, TERMS, metric_name, number


@dataclass(frozen=True)
class Case:
    """An example as the page shows it."""

    example: Example
    image: str
    overlay: str
    kind: str
    heading: str
    text: str
    percent: float
    threshold: float | None


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report.

    Args:
        path: the HTML file; replaced when it is there.
        content: what it says.

    Raises:
        OutputError: the file cannot be written.
    """
    write_html(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The report as HTML.

    Args:
        content: what it says; names of images and all other text are escaped.
    """
    evaluation = content.evaluation
    script = asset("report.js")
    operating = result_tables.operating_tables(evaluation, content.operating_points)
    decision = plots.decision_charts(evaluation)
    shown = {
        "data": bool(content.splits or content.leak_check or content.excluded or content.alerts),
        "decisions": bool(operating or decision.figures),
        "inputs": bool(content.inputs),
        "prognosis": content.prognosis is not None,
        "work": bool(content.budgets),
        "groups": bool(content.subgroups or content.group_findings),
        "examples": bool(content.examples),
        "training": bool(content.histories),
        "provenance": bool(content.provenance or content.settings_toml),
    }
    return (
        environment()
        .get_template("report.html")
        .render(
            content=content,
            style=Markup(asset("report.css")),  # noqa: S704 - our own file
            light=Markup(style_variables(dark=False)),  # noqa: S704 - our own colours
            dark=Markup(style_variables(dark=True)),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_hash=_script_hash(script),
            shown={name for name, there in shown.items() if there},
            sections=_contents(content, shown),
            single=len(evaluation.labels) == 1,
            plural="" if len(evaluation.labels) == 1 else "s",
            summary=summary.summary(content),
            warnings=summary.warnings(content),
            key_figures=summary.key_figures(content),
            flow=tables.flow_of_images(content),
            data_tables=tables.data_tables(content.splits),
            problem_tables=tables.problem_tables(content),
            overview=plots.overview(evaluation),
            result_tables=result_tables.result_tables(evaluation),
            roc=plots.roc_charts(evaluation),
            pr=plots.pr_charts(evaluation),
            calibration_tables=result_tables.calibration_tables(evaluation),
            reliability=plots.reliability_charts(evaluation),
            chosen_on=" and ".join(dict.fromkeys(p.chosen_on for p in content.operating_points if p.chosen_on)),
            frequencies=summary.frequencies(evaluation),
            operating_tables=operating,
            decision=decision,
            input_tables=input_tables.input_tables(content.inputs, prognosis=content.prognosis is not None),
            prognosis_tables=input_tables.prognosis_tables(content.prognosis),
            prognosis_charts=input_tables.prognosis_charts(content.prognosis),
            group_tables=tables.group_tables(content),
            budget_tables=tables.budget_tables(content),
            budget_falls=[(line.name, fall) for line in content.budgets for fall in line.falls],
            group_chart=plots.group_chart(content),
            cases=_cases(content.examples),
            training=plots.training_charts(content),
            limits=summary.limits(content),
            interval_note=summary.interval_note(evaluation),
            glossary=GLOSSARY,
            glossary_items=_glossary(content),
            facts=tables.facts(content.provenance),
        )
    )


def _glossary(content: ReportContent) -> list[tuple[str, str]]:
    """Metrics, and the words that only some reports need."""
    told = TERMS if content.sections or content.subgroups else {}
    return [*((metric_name(name), text) for name, text in GLOSSARY.items()), *told.items()]


_SECTIONS = (
    ("summary", "Summary"),
    ("data", "Images and patients"),
    ("results", "Telling findings apart"),
    ("calibration", "Probabilities"),
    ("decisions", "Decisions"),
    ("prognosis", "Prognosis"),
    ("inputs", "What each input adds"),
    ("groups", "Groups"),
    ("work", "Work"),
    ("examples", "Examples"),
    ("training", "Training"),
    ("limits", "Limits"),
    ("reading", "How to read the numbers"),
    ("provenance", "Provenance"),
)


def _contents(content: ReportContent, shown: Mapping[str, bool]) -> list[tuple[str, str]]:
    """Anchor and title of every section; those of others stand before the limits."""
    contents: list[tuple[str, str]] = []
    for name, title in _SECTIONS:
        if name == "limits":
            contents += [(f"section-{number}", section.title) for number, section in enumerate(content.sections, 1)]
        if shown.get(name, True):
            contents.append((name, title))
    return contents


def _cases(examples: Sequence[Example]) -> list[Case]:
    pictures = [picture for e in examples for picture in (e.image, e.overlay) if picture is not None]
    uris = iter(data_uris(pictures))
    return [_case(e, next(uris), next(uris) if e.overlay is not None else "") for e in examples]


def _case(example: Example, image: str, overlay: str) -> Case:
    right = example.outcome in ("true positive", "true negative", "correct")
    target = "not known" if example.target is None else "present" if example.target else "absent"
    decided = "flagged" if example.decision else "not flagged"
    at = f" at {example.operating_point}" if example.operating_point else ""
    known = not math.isnan(example.probability)
    said = f"Probability {number(example.probability, 2)}" if known else "No probability"
    return Case(
        example,
        image,
        overlay,
        "good" if right else "bad",
        f"{example.label}: {example.outcome}",
        f"{said}, {decided}{at}. Reference: {target}.",
        round(100 * example.probability, 1) if known else 0.0,
        None if example.threshold is None else round(100 * min(1.0, max(0.0, example.threshold)), 1),
    )


def _script_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
