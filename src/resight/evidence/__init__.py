"""Evidence that people can read: the report of an evaluation as one file that needs nothing else."""

from resight.evidence.content import (
    Alert,
    BudgetLine,
    Example,
    Exclusion,
    InputRow,
    LabelCount,
    LeakCheck,
    Outcome,
    ReportContent,
    SplitSummary,
    SubgroupRow,
)
from resight.evidence.doubt import doubt_section
from resight.evidence.explained import write_evidence_page
from resight.evidence.page import Page, Section, render_page, write_page
from resight.evidence.people import study_page, team_page, worklist_page
from resight.evidence.report import render_report, write_report

__all__ = [
    "Alert",
    "BudgetLine",
    "Example",
    "Exclusion",
    "InputRow",
    "LabelCount",
    "LeakCheck",
    "Outcome",
    "Page",
    "ReportContent",
    "Section",
    "SplitSummary",
    "SubgroupRow",
    "doubt_section",
    "render_page",
    "render_report",
    "study_page",
    "team_page",
    "worklist_page",
    "write_evidence_page",
    "write_page",
    "write_report",
]
