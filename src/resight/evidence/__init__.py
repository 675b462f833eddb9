"""Evidence that people can read: the report of an evaluation as one file that needs nothing else."""

from resight.evidence.checklists import answers_text, questions, read_answers
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
from resight.evidence.drift import drift_section, drift_words
from resight.evidence.explained import write_evidence_page
from resight.evidence.explanations import explanation_section, verdict_words
from resight.evidence.pack import PackContent, checklists_csv, missing_in_pack, pack_page
from resight.evidence.page import Page, Section, render_page, write_page
from resight.evidence.pdf import write_pdf
from resight.evidence.people import team_page, team_section, team_words, worklist_page
from resight.evidence.reader_study import studies_section, study_page
from resight.evidence.report import render_report, write_report
from resight.evidence.risks import RISK_FILE, RiskFile, draft_text, read_risks
from resight.evidence.software import bill_of_materials

__all__ = [
    "RISK_FILE",
    "Alert",
    "BudgetLine",
    "Example",
    "Exclusion",
    "InputRow",
    "LabelCount",
    "LeakCheck",
    "Outcome",
    "PackContent",
    "Page",
    "ReportContent",
    "RiskFile",
    "Section",
    "SplitSummary",
    "SubgroupRow",
    "answers_text",
    "bill_of_materials",
    "checklists_csv",
    "doubt_section",
    "draft_text",
    "drift_section",
    "drift_words",
    "explanation_section",
    "missing_in_pack",
    "pack_page",
    "questions",
    "read_answers",
    "read_risks",
    "render_page",
    "render_report",
    "studies_section",
    "study_page",
    "team_page",
    "team_section",
    "team_words",
    "verdict_words",
    "worklist_page",
    "write_evidence_page",
    "write_page",
    "write_pdf",
    "write_report",
]
