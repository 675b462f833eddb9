"""What an evaluation found, as frozen values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resight.evaluation.calibration import BrierParts, Reliability
from resight.evaluation.decisions import Confusion
from resight.evaluation.discrimination import Curve
from resight.evaluation.net_benefit import DecisionCurve
from resight.settings import plain
from resight.types import MetricValue, Task


@dataclass(frozen=True)
class Counts:
    """Rows of one label: positives, negatives, those that do not count, and patients among those that do."""

    positives: int
    negatives: int
    masked: int
    patients: int


@dataclass(frozen=True)
class Curves:
    """Curves of one label; None where undefined.

    Attributes:
        roc: false positive rate against sensitivity.
        pr: sensitivity against PPV.
        reliability: mean probability against share of positives.
        decision: net benefit.
    """

    roc: Curve | None = None
    pr: Curve | None = None
    reliability: Reliability | None = None
    decision: DecisionCurve | None = None


@dataclass(frozen=True)
class LabelResult:
    """One label's results.

    Attributes:
        label: its name.
        counts: what the metrics rest on.
        metrics: ranking, probabilities, and decisions at the first operating point, by name.
        curves: for plots.
        brier_parts: None without probabilities or rows.
    """

    label: str
    counts: Counts
    metrics: Mapping[str, MetricValue]
    curves: Curves
    brier_parts: BrierParts | None = None


@dataclass(frozen=True)
class OperatingResult:
    """One label's decisions at one operating point; threshold NaN where the table holds decisions only."""

    name: str
    label: str
    threshold: float
    confusion: Confusion
    metrics: Mapping[str, MetricValue]


@dataclass(frozen=True)
class Baseline:
    """What is reached without looking at an image; `label` is empty for a multiclass task as a whole."""

    name: str
    label: str
    metrics: Mapping[str, MetricValue]
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows of one predictions table.

    Attributes:
        task: kind of classification.
        labels: results label by label.
        macro: means over the labels where a metric is defined; `n` is the number of those labels.
        estimable: labels with positives and negatives.
        overall: of the most likely class, for a multiclass task; else empty.
        operating: decisions, first those the labels' metrics rest on.
        baselines: majority, all-negative, prevalence, metadata.
        notes: what was left out, assumed, or cannot be estimated; one sentence each.
        images: rows evaluated.
        patients: among them.
        confidence: coverage of the intervals.
    """

    task: Task
    labels: tuple[LabelResult, ...]
    macro: Mapping[str, MetricValue]
    estimable: int
    overall: Mapping[str, MetricValue]
    operating: tuple[OperatingResult, ...]
    baselines: tuple[Baseline, ...]
    notes: tuple[str, ...]
    images: int
    patients: int
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `metrics.json`; NaN and infinity become None."""
        return plain(self)
