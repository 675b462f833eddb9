"""Are results alike for everybody: audits by group, what else differs, probes, and what can be done about it."""

from resight.fairness.audit import audit
from resight.fairness.effects import Effect, effects
from resight.fairness.gaps import widest_gaps
from resight.fairness.mitigate import Mitigation, mitigate
from resight.fairness.options import AuditOptions
from resight.fairness.pixels import PixelOptions, PixelTest, search_pixels
from resight.fairness.probes import Probe, ScoreLink, probe_features, score_links
from resight.fairness.results import Audit, Cause, Difference, Gap, GroupResult

__all__ = [
    "Audit",
    "AuditOptions",
    "Cause",
    "Difference",
    "Effect",
    "Gap",
    "GroupResult",
    "Mitigation",
    "PixelOptions",
    "PixelTest",
    "Probe",
    "ScoreLink",
    "audit",
    "effects",
    "mitigate",
    "probe_features",
    "score_links",
    "search_pixels",
    "widest_gaps",
]
