"""The page of an evidence pack: what is missing first, then purpose, figures, risks, change plan and checklists."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resight.evaluation import Evaluation
from resight.evidence.checklists import (
    Answered,
    Checklist,
    checklist_table,
    fill,
    load_checklists,
    missing_items,
)
from resight.evidence.page import Page, Section
from resight.evidence.risks import RiskFile, risk_table
from resight.evidence.software import software_table
from resight.evidence.tables import Row, Table
from resight.evidence.wording import cell, metric_name, number, whole
from resight.fairness import Audit

_FIGURES = ("auroc", "auprc", "sensitivity", "specificity", "ppv", "npv", "brier", "calibration_slope")
_GROUP_FIGURES = ("auroc", "sensitivity", "specificity", "observed_minus_expected")


@dataclass(frozen=True)
class PackContent:
    """What a pack says.

    Attributes:
        name: of the model.
        created: date and time, as text.
        facts: sentences by key, from the run and from people.
        evaluation: recomputed from the stored predictions.
        evaluated_on: split it comes from.
        audit: by groups; None where no attribute makes groups.
        limits: what the model must not be used for.
        clearance: under what it may be used on patients; blank: research only.
        risks: the hazards.
        bill: bill of materials, JSON.
        unknown_in_datasheet: questions of the datasheet that nobody answered; None where there is no datasheet.
        notes: what else a reader of the first page must know, one sentence each.
    """

    name: str
    created: str
    facts: Mapping[str, str]
    evaluation: Evaluation
    evaluated_on: str
    audit: Audit | None
    limits: tuple[str, ...]
    clearance: str
    risks: RiskFile
    bill: str
    unknown_in_datasheet: int | None
    notes: tuple[str, ...] = ()


def missing_in_pack(content: PackContent) -> dict[str, tuple[int, int]]:
    """Part of the pack -> how many of its entries are missing or only partly there, and how many it has."""
    purpose = 0 if content.facts.get("intended_use") else 1
    open_risks = sum(hazard.undecided for hazard in content.risks.hazard)
    lists = {one.title: (missing_items(done), len(done)) for one, done in _filled(content)}
    # a datasheet that could not be made lacks as a whole
    datasheet = (1, 1) if content.unknown_in_datasheet is None else (content.unknown_in_datasheet, 0)
    return {
        "Intended use": (purpose, 1),
        "Results by group": (int(content.audit is None), 1),
        "Risk file": (open_risks, len(content.risks.hazard)),
        "Datasheet": datasheet,
        **lists,
    }


def pack_page(content: PackContent) -> Page:
    """The whole pack as a page."""
    missing = missing_in_pack(content)
    total = sum(count for count, _ in missing.values())
    lead = (
        f"{total} entries are missing. They are counted here and named below; nothing was filled in by guessing."
        if total
        else "Nothing is missing. That every entry has an answer does not make the answers right."
    )
    sections = (
        _overview(content, missing),
        _purpose(content),
        *_performance(content),
        _risks(content),
        *(_list_section(one, done) for one, done in _filled(content)),
        Section(
            "Software",
            how="What the model needs to run, from sbom.json (CycloneDX 1.6).",
            tables=(software_table(content.bill),),
        ),
    )
    return Page(kind="Evidence pack", title=content.name, sections=sections, lead=lead)


def checklists_csv(content: PackContent) -> str:
    """Every item of every list with status and answer, for spreadsheets."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("list", "item", "asks", "status", "answer", "missing"))
    for one, done in _filled(content):
        for entry in done:
            item = entry.item
            writer.writerow((one.title, item.number, item.asks, entry.status, entry.text, " ".join(entry.lacking)))
    return stream.getvalue()


def _filled(content: PackContent) -> list[tuple[Checklist, tuple[Answered, ...]]]:
    return [(one, fill(one, content.facts)) for one in load_checklists()]


def _overview(content: PackContent, missing: Mapping[str, tuple[int, int]]) -> Section:
    rows = [
        Row((part, whole(count), whole(of) if of else "", "complete" if not count else "incomplete"))
        for part, (count, of) in missing.items()
    ]
    clearance = content.clearance or "None: for research use only, no medical device."
    notes = (
        "resight verify checks every file of this pack against its checksum and computes every number again from the "
        "stored predictions.",
        *content.notes,
    )
    return Section(
        "What is missing",
        how="An entry that is answered in part counts as missing.",
        sentences=(f"Clearance: {clearance}", f"Made {content.created}."),
        tables=(Table("Parts of this pack", ("Part", "Missing", "Of", "State"), tuple(rows)),),
        notes=notes,
    )


def _purpose(content: PackContent) -> Section:
    purpose = content.facts.get("intended_use") or "Missing: no intended use was stated."
    rows = tuple(Row((str(place), limit)) for place, limit in enumerate(content.limits, 1))
    tables = (Table("Limits", ("", "What the model must not be used for, and what is not known"), rows, words=True),)
    return Section("Intended use and limits", sentences=(purpose,), tables=tables if rows else ())


def _performance(content: PackContent) -> tuple[Section, ...]:
    evaluation = content.evaluation
    names = [name for name in _FIGURES if any(name in one.metrics for one in evaluation.labels)]
    rows = [Row((one.label, *(cell(one.metrics.get(name)) for name in names))) for one in evaluation.labels]
    if len(evaluation.labels) > 1:
        rows.append(Row(("Mean over labels", *(cell(evaluation.macro.get(name)) for name in names)), "overall"))
    head = ("Label", *map(metric_name, names))
    how = (
        f"On {whole(evaluation.images)} {content.evaluated_on} images of {whole(evaluation.patients)} patients, with "
        f"{evaluation.confidence:.0%} intervals by patient."
    )
    overall = Section("Performance", how=how, tables=(Table("Figures", head, tuple(rows)),), notes=evaluation.notes)
    return (overall, _group_section(content.audit))


def _group_section(audit: Audit | None) -> Section:
    if audit is None:
        return Section("Results by group", sentences=("Missing: the predictions carry no attribute to group by.",))
    groups = [group for group in audit.groups if group.label]
    rows = tuple(
        Row(
            (
                f"{g.attribute}: {g.group}, {g.label}",
                whole(g.images),
                whole(g.positives),
                *(cell(g.metrics.get(name)) for name in _GROUP_FIGURES),
            )
        )
        for g in groups
    )
    found = tuple(
        Row((f"{d.attribute}: {d.group}", d.label or "any", metric_name(d.metric), cell(d.difference), _p(d.p_holm)))
        for d in audit.found
    )
    head = ("Group and label", "Images", "Positives", *map(metric_name, _GROUP_FIGURES))
    tables = [Table("Figures by group", head, rows)]
    if found:
        columns = ("Group", "Label", "Metric", "Group less rest", "p (Holm)")
        tables.append(Table("Differences that outlast correction", columns, found))
    sentence = f"{len(audit.found)} of {audit.tests} tests find a difference after Holm's correction."
    return Section("Results by group", sentences=(sentence,), tables=tuple(tables), notes=audit.notes)


def _p(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else number(value, 4)


def _risks(content: PackContent) -> Section:
    return Section(
        "Risk file",
        how="In the manner of ISO 14971. Drafted from the run; severity, probabilities and the judgement of what "
        "remains are for people, in the risk file.",
        tables=(risk_table(content.risks, content.facts),),
    )


def _list_section(checklist: Checklist, done: Sequence[Answered]) -> Section:
    lacking = missing_items(done)
    caption = f"{len(done) - lacking} of {len(done)} items answered"
    return Section(checklist.title, how=checklist.how, tables=(checklist_table(done, caption),))
