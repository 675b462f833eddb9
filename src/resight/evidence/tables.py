"""Tables of a report about people and images: flow of images, splits, labels, exclusions, alerts, groups, provenance.

The flow follows the diagram of STARD 2015 (Bossuyt et al. 2015, item 19).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from resight.evidence.content import ReportContent, SplitSummary
from resight.evidence.wording import cell, metric_name, number, plural, whole

_MOST_ROWS = 20
"""Lists of single images end here and say how many more there are."""
_MOST_REASONS = 8
_WIDE = 6
"""Columns beyond which intervals stand below their numbers, so that the table fits the page."""


@dataclass(frozen=True)
class Row:
    """Cells of a row, the first its heading; `kind` is a class of the style sheet."""

    cells: tuple[str | Markup, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; `words` aligns everything to the left, many columns put intervals below numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    words: bool = False

    @property
    def kind(self) -> str:
        """Class of the style sheet."""
        return "words" if self.words else "stacked" if len(self.head) > _WIDE else ""


@dataclass(frozen=True)
class FlowPart:
    """One split at the end of the flow."""

    name: str
    images: str
    patients: str
    used: bool


@dataclass(frozen=True)
class Flow:
    """Counts from assessed to split, as text."""

    assessed: str
    n_excluded: str
    reasons: tuple[tuple[str, str], ...]
    used: str
    patients: str
    parts: tuple[FlowPart, ...]


def flow_of_images(content: ReportContent) -> Flow | None:
    """Assessed, excluded with reasons, used, and split; None where that is not all known."""
    if content.assessed is None or not content.splits:
        return None
    reasons = Counter(exclusion.reason for exclusion in content.excluded).most_common()
    shown = [(reason, whole(count)) for reason, count in reasons[:_MOST_REASONS]]
    if len(reasons) > _MOST_REASONS:
        shown.append(("other reasons", whole(sum(count for _, count in reasons[_MOST_REASONS:]))))
    used = sum(split.images for split in content.splits)
    if (unplaced := content.assessed - len(content.excluded) - used) > 0:
        shown.append(("in no split", whole(unplaced)))
    known = [split.patients for split in content.splits if split.patients is not None]
    everybody = plural(sum(known), "patient") if len(known) == len(content.splits) else ""
    independent = content.leak_check is not None and content.leak_check.passed
    return Flow(
        assessed=plural(content.assessed, "image"),
        n_excluded=plural(content.assessed - used, "image"),
        reasons=tuple(shown),
        used=plural(used, "image"),
        patients=everybody if independent else "",
        parts=tuple(_part(split, content.evaluated_on) for split in content.splits),
    )


def data_tables(splits: Sequence[SplitSummary]) -> list[Table]:
    """Labels and attributes of every split."""
    if not splits:
        return []
    tables = [_label_table(splits)]
    names = list(dict.fromkeys(name for split in splits for name in split.attributes))
    if names:
        rows = [Row((name, *(split.attributes.get(name, "not recorded") for split in splits))) for name in names]
        head = ("Attribute", *(split.name.capitalize() for split in splits))
        tables.append(Table("People and images", head, tuple(rows), words=True))
    return tables


def problem_tables(content: ReportContent) -> list[Table]:
    """Images that were left out and images that a sentinel noticed."""
    tables: list[Table] = []
    if content.excluded:
        rows = [Row((entry.image, entry.reason)) for entry in content.excluded]
        tables.append(_list_table("Excluded images", ("Image", "Reason"), rows))
    if content.alerts:
        rows = [Row((entry.image, entry.name, entry.detail)) for entry in content.alerts]
        note = "These images look unlike the training images. They were used all the same; look at them."
        tables.append(_list_table("Images worth a second look", ("Image", "Sentinel", "What it saw"), rows, note))
    return tables


def group_tables(content: ReportContent) -> list[Table]:
    """One table a label of results by group."""
    tables: list[Table] = []
    for label in dict.fromkeys(row.label for row in content.subgroups):
        members = [row for row in content.subgroups if row.label == label]
        names = list(dict.fromkeys(name for row in members for name in row.metrics))
        rows = [
            Row(
                (
                    f"{row.attribute}: {row.group}",
                    whole(row.images),
                    whole(row.positives),
                    *(cell(row.metrics.get(name)) for name in names),
                )
            )
            for row in members
        ]
        head = ("Group", "Images", "Positives", *map(metric_name, names))
        tables.append(Table(label, head, tuple(rows)))
    return tables


def budget_tables(content: ReportContent) -> list[Table]:
    """What less work costs, and which images need all of it."""
    lines = content.budgets
    if not lines:
        return []
    rows = [
        Row(
            (
                line.name,
                f"{line.share:.0%}",
                _milliseconds(line.seconds),
                "not estimable" if line.auroc is None else number(line.auroc),
                "" if line.change is None else cell(line.change),
            )
        )
        for line in lines
    ]
    tables = [Table("Less work for each image", ("Budget", "FLOPs", "One image", "AUROC", "Change"), tuple(rows))]
    exits = [
        Row((line.name, where, whole(images), cell(brier) if images else ""))
        for line in lines
        for where, images, brier in line.exits
    ]
    if len({row.cells[1] for row in exits}) > 1:
        note = "Brier score of the network without a budget on the images that left there: higher is more difficult."
        tables.append(Table("Who leaves where", ("Budget", "Left at", "Images", "Brier"), tuple(exits), note))
    return tables


def _milliseconds(seconds: float) -> str:
    return "not measured" if math.isnan(seconds) else f"{1000 * seconds:.1f} ms"


def facts(provenance: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as pairs of name and text; what is unknown says so, lists are joined."""
    pairs: list[tuple[str, str]] = []
    for key, value in provenance.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            pairs += facts(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            plain = [item for item in value if not isinstance(item, Mapping | list | tuple)]
            pairs += [(name, ", ".join(map(str, plain)))] if plain else []
        elif isinstance(value, bool):
            pairs.append((name, "yes" if value else "no"))
        else:
            pairs.append((name, "unknown" if value is None else str(value)))
    return pairs


def _part(split: SplitSummary, evaluated_on: str) -> FlowPart:
    patients = "" if split.patients is None else plural(split.patients, "patient")
    return FlowPart(split.name.capitalize(), plural(split.images, "image"), patients, split.name == evaluated_on)


def _label_table(splits: Sequence[SplitSummary]) -> Table:
    masked = any(count.masked for split in splits for count in split.labels)
    note = "Images with the finding, of the images where it is known" + ("; in brackets: not known." if masked else ".")
    labels = [count.label for count in splits[0].labels]
    counts = [{count.label: count for count in split.labels} for split in splits]
    rows: list[Row] = []
    for label in labels:
        cells: list[str | Markup] = []
        for of_split in counts:
            count = of_split.get(label)
            cells.append(
                "not recorded" if count is None else _prevalence(count.positives, count.negatives, count.masked)
            )
        rows.append(Row((label, *cells)))
    total = Row(("All images", *(whole(split.images) for split in splits)), "overall")
    return Table("Findings", ("Label", *(s.name.capitalize() for s in splits)), (*rows, total), note)


def _prevalence(positives: int, negatives: int, masked: int) -> Markup:
    known = positives + negatives
    share = f"{positives / known:.1%}" if known else "none known"
    text = Markup('{} of {} <span class="ci">{}</span>').format(whole(positives), whole(known), share)
    return text + (Markup(' <span class="ci">[{}]</span>').format(whole(masked)) if masked else Markup(""))


def _list_table(caption: str, head: tuple[str, ...], rows: Sequence[Row], note: str = "") -> Table:
    shown = tuple(rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        more = f"{len(rows) - _MOST_ROWS} more are not listed here."
        note = f"{note} {more}".strip()
    return Table(f"{caption} ({len(rows)})", head, shown, note, words=True)
