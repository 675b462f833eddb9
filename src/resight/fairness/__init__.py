"""Are results alike for everybody: audits by group, what else differs, and what can be done about it."""

from resight.fairness.audit import audit
from resight.fairness.groups import Grouping, make_groupings
from resight.fairness.options import AuditOptions
from resight.fairness.results import Audit, Cause, Difference, Gap, GroupResult

__all__ = [
    "Audit",
    "AuditOptions",
    "Cause",
    "Difference",
    "Gap",
    "GroupResult",
    "Grouping",
    "audit",
    "make_groupings",
]
