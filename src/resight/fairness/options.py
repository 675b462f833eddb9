"""What an audit may be asked for."""

from __future__ import annotations

from pydantic import Field

from resight.evaluation.options import Share
from resight.settings import Options

WHOLE_TABLE = "all"
"""Value of `split` that audits every row."""


class AuditOptions(Options):
    """Groups, suppression, intervals and tests of an audit."""

    by: tuple[str, ...] = Field(
        min_length=1, description="attributes to group by; `sex+age` for their intersection, as often as wanted"
    )
    edges: dict[str, tuple[float, ...]] = Field(
        default={}, description="rising edges of the groups of a numeric attribute; default: decades of age, quartiles"
    )
    split: str | None = Field(
        default=None, description="split to audit; unset: test where the table has one; `all`: every row"
    )
    min_images: int = Field(default=20, ge=2, description="groups of fewer images are counted and not measured")
    min_events: int = Field(
        default=10, ge=2, description="patients that a rate needs under its bar, and an AUROC in each class"
    )
    bootstrap: int = Field(default=1000, ge=0, description="replicates by patient; 0 leaves bootstrap intervals out")
    seed: int = Field(default=0, ge=0, description="seed of the bootstrap")
    confidence: Share = Field(default=0.95, description="coverage of every interval")
    alpha: Share = Field(default=0.05, description="a corrected p below this is called a difference")
    healthy: str = Field(
        default="No Finding", description="label that says that nothing was found, for the underdiagnosis rate"
    )
    ece_bins: int = Field(default=15, ge=1, le=1000, description="bins of the calibration error")
