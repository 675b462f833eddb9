"""Evidence that people can read: the report of an evaluation as one file that needs nothing else."""

from resight.evidence.content import (
    Alert,
    Example,
    Exclusion,
    LabelCount,
    LeakCheck,
    Outcome,
    ReportContent,
    SplitSummary,
    SubgroupRow,
)
from resight.evidence.report import render_report, write_report

__all__ = [
    "Alert",
    "Example",
    "Exclusion",
    "LabelCount",
    "LeakCheck",
    "Outcome",
    "ReportContent",
    "SplitSummary",
    "SubgroupRow",
    "render_report",
    "write_report",
]
