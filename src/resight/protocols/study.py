"""A study page: the published figure, the review's figure, the trivial baseline and ours, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from resight.settings import plain, write_json
from resight.types import MetricValue

Certainty = Literal["read", "measured", "remembered", "review only", "not verifiable"]
"""How sure a published figure is: read at its source, measured from public files, remembered, only in the review, or
found nowhere."""


NOT_OURS = "not ours"
"""In the place of our figure in a line that only shows what others report."""


@dataclass(frozen=True)
class Figure:
    """A figure that somebody else reports.

    Attributes:
        text: the figure as printed, for example `0.745`.
        source: who reports it.
        certainty: how sure it is that they do.
    """

    text: str
    source: str
    certainty: Certainty


@dataclass(frozen=True)
class Row:
    """One line of a study's table.

    Attributes:
        what: method or model.
        metric: which metric, on which images.
        ours: our figure with its interval; None where there is none.
        published: figures of the original papers.
        review: figure the review reports.
        baseline: what is reached without looking at an image.
        note: anything the reader must know to compare.
        absent: what stands in the place of our figure where there is none.
        signed: ours is a difference and always has its sign.
    """

    what: str
    metric: str
    ours: MetricValue | None = None
    published: tuple[Figure, ...] = ()
    review: Figure | None = None
    baseline: MetricValue | None = None
    note: str = ""
    absent: str = "not run"
    signed: bool = False


@dataclass(frozen=True)
class Study:
    """Everything a protocol found.

    Attributes:
        name: registered name of the protocol.
        title: what was studied.
        question: what the reader wants to know, and the short answer.
        tables: heading -> rows; figures of different splits are never in one table.
        conclusions: sentences that follow from the tables, good and bad news alike.
        pictures: file name below the study's folder -> caption.
        command: the command that makes it again.
        record: versions, seeds, seconds, machine.
        wide: headings of tables drawn with one line a method and one column a metric; only figures of ours and notes
            are shown there.
    """

    name: str
    title: str
    question: str
    tables: Mapping[str, Sequence[Row]]
    conclusions: tuple[str, ...]
    command: str
    pictures: Mapping[str, str] = field(default_factory=dict[str, str])
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    wide: tuple[str, ...] = ()


def write_study(folder: Path, study: Study) -> None:
    """Write `study.json` and `study.md` into the study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "study.json", plain(asdict(study)))
    (folder / "study.md").write_text(render_markdown(study), encoding="utf-8")


def signed(value: MetricValue) -> str:
    """A difference with its sign: `+0.034 (-0.001 to +0.070)`."""
    if math.isnan(value.value):
        return str(value)
    interval = "" if math.isnan(value.low) else f" ({value.low:+.3f} to {value.high:+.3f})"
    return f"{value.value:+.3f}{interval}"


def render_markdown(study: Study) -> str:
    """The study as Markdown."""
    lines = [f"# {study.title}", "", study.question, "", *(f"- {sentence}" for sentence in study.conclusions)]
    for name, caption in study.pictures.items():
        lines += ["", f"![{caption}]({name})", "", f"*{caption}*"]
    for heading, rows in study.tables.items():
        lines += ["", f"## {heading}", "", *(_wide_table if heading in study.wide else _table)(rows)]
    lines += ["", "## How it was made", "", "```", study.command, "```", ""]
    lines += [f"- {key}: {value}" for key, value in study.record.items()]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    columns = ["method", "metric", "ours", "published", "review", "without images", "note"]
    cells = [
        [
            row.what,
            row.metric,
            _ours(row),
            "; ".join(map(_reported, row.published)),
            _reported(row.review) if row.review else "",
            str(row.baseline) if row.baseline else "",
            row.note,
        ]
        for row in rows
    ]
    used = [i for i, _ in enumerate(columns) if i < 3 or any(line[i] for line in cells)]
    return _drawn([columns[i] for i in used], [[line[i] for i in used] for line in cells])


def _wide_table(rows: Sequence[Row]) -> list[str]:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    found = {(row.what, row.metric): ", ".join(filter(None, [_ours(row), row.note])) for row in rows}
    names = list(dict.fromkeys(row.what for row in rows))
    return _drawn(["method", *metrics], [[name, *(found.get((name, m), "") for m in metrics)] for name in names])


def _drawn(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _ours(row: Row) -> str:
    value = row.ours
    if value is None:
        return row.absent
    return signed(value) if row.signed or value.low < 0 else str(value)


def _reported(figure: Figure) -> str:
    return f"{figure.text} ({figure.source}; {figure.certainty})"
