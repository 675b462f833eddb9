"""A datasheet for a cohort: the questions of Gebru et al. (Datasheets for Datasets, 2021), answered where we know.

What only people can know is marked as not known to Resight, so that nobody takes a gap for an answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from resight.cohorts.leaks import LeakReport
from resight.cohorts.summary import CohortSummary, PartSummary, inspect_cohort, most_common
from resight.errors import CohortError, nearest
from resight.types import Cohort

UNKNOWN = "Not known to Resight."

QUESTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "Motivation": (
        ("purpose", "For what purpose was the cohort created?"),
        ("creators", "Who created it, on behalf of whom?"),
        ("funding", "Who funded it?"),
    ),
    "Composition": (
        ("instances", "What does a row stand for, and how many are there?"),
        ("sampling", "Is it a sample of a larger set, and how was it drawn?"),
        ("content", "What does each row consist of?"),
        ("labels", "Which labels are there, how often, and what is missing?"),
        ("reference_standard", "How was the reference standard established?"),
        ("relations", "Are relations between rows explicit (several images of one patient)?"),
        ("splits", "Are there recommended splits?"),
        ("errors", "Are there errors, noise or redundancies?"),
        ("subpopulations", "Which groups of people does it identify?"),
        ("identifiable", "Can individuals be identified, directly or indirectly?"),
        ("self_contained", "Is it self-contained, or does it rely on external resources?"),
    ),
    "Collection": (
        ("acquisition", "How, when and where were the images acquired?"),
        ("ethics", "Was there an ethical review?"),
        ("consent", "Did the patients consent, or was consent waived?"),
    ),
    "Preprocessing": (
        ("preprocessing", "Was the data preprocessed, cleaned or relabelled?"),
        ("raw", "Is the raw data kept?"),
    ),
    "Uses": (
        ("used_for", "What has it been used for already?"),
        ("risks", "What about it could lead to unfair or harmful use?"),
        ("not_for", "What should it not be used for?"),
    ),
    "Distribution": (
        ("licence", "Under which licence or terms of use is it distributed?"),
        ("restrictions", "Do export controls or other restrictions apply?"),
    ),
    "Maintenance": (
        ("maintainer", "Who maintains it, and how are they reached?"),
        ("updates", "Will it be updated, and how are versions told apart?"),
    ),
}
"""Section -> (key of the answer, question)."""


def datasheet(
    cohort: Cohort,
    *,
    summary: CohortSummary | None = None,
    leaks: LeakReport | None = None,
    answers: Mapping[str, str] | None = None,
) -> str:
    """Write the datasheet of a cohort.

    Args:
        cohort: what it is about.
        summary: its counts; made without opening images when not given.
        leaks: its leak check, which answers the questions about errors and risks.
        answers: answers that people gave, by the keys of `QUESTIONS`; they stand before what was measured.

    Returns:
        Markdown.

    Raises:
        CohortError: an answer to a question that does not exist.
    """
    given = dict(answers or {})
    keys = {key for questions in QUESTIONS.values() for key, _ in questions}
    for key in given:
        if key not in keys:
            raise CohortError(f"no question {key!r} in the datasheet", where=cohort.name, fix=nearest(key, keys))
    measured = _measured(cohort, summary or inspect_cohort(cohort, files=False), leaks)
    lines = [f"# Datasheet: {cohort.name}", "", f"Fingerprint of the table: `{cohort.fingerprint()}`", ""]
    for section, questions in QUESTIONS.items():
        lines += [f"## {section}", ""]
        for key, question in questions:
            answer = [text for text in (given.get(key), measured.get(key)) if text]
            lines += [f"**{question}**", "", *("\n\n".join(answer) or UNKNOWN).splitlines(), ""]
    return "\n".join(lines)


def _measured(cohort: Cohort, summary: CohortSummary, leaks: LeakReport | None) -> dict[str, str]:
    columns = ", ".join(f"`{name}`" for name in cohort.attributes) or "nothing else"
    answers = {
        "instances": f"A row is one image. {_counted(summary.whole)}",
        "content": f"An image, {len(cohort.labels)} labels ({cohort.task}), and {columns}.{_files(summary)}",
        "labels": _label_table(summary),
        "relations": _relations(summary),
        "splits": "\n".join(f"- {name}: {_counted(part)}" for name, part in summary.parts.items()),
        "subpopulations": "\n".join(
            f"- {name}: {summary.attributes[name]}"
            for name in ("age", "sex", "view", "site")
            if name in summary.attributes
        ),
        "preprocessing": "\n".join(f"- {note}" for note in cohort.notes),
        "updates": f"This version of the table has the fingerprint `{cohort.fingerprint()[:16]}`.",
    }
    if leaks is not None:
        repeated = [f"- {d.kind}: {d.images} images in {d.groups} groups" for d in leaks.duplicates]
        unreadable = [f"- {len(leaks.unreadable)} images cannot be read"] if leaks.unreadable else []
        answers["errors"] = "\n".join([f"Leak check: {leaks.verdict}.", "", *repeated, *unreadable])
        answers["risks"] = "\n".join(f"- {finding.text}" for finding in leaks.findings)
    return answers


def _counted(part: PartSummary) -> str:
    patients = "an unknown number of" if part.patients is None else str(part.patients)
    return f"{part.images} images of {patients} patients."


def _files(summary: CohortSummary) -> str:
    if not summary.files:
        return ""
    facts = "; ".join(f"{name}: {most_common(counts)}" for name, counts in summary.files.items())
    return f" Files: {facts}; {summary.bytes / 1e6:.1f} MB together."


def _relations(summary: CohortSummary) -> str:
    if summary.whole.patients is None:
        return "No: no patient is known, so images of one patient cannot be kept together."
    return f"Yes, by `patient_id`; at most {summary.most_images_of_a_patient:.0f} images belong to one patient."


def _label_table(summary: CohortSummary) -> str:
    head = ["| label | positive | negative | masked | prevalence |", "|---|---|---|---|---|"]
    rows = [
        f"| {one.label} | {one.positives} | {one.negatives} | {one.masked} | {one.prevalence:.3f} |"
        for one in summary.whole.labels
    ]
    return "\n".join([*head, *rows])
