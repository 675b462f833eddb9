"""What an audit found, as frozen values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resight.settings import plain
from resight.types import MetricValue


@dataclass(frozen=True)
class GroupResult:
    """One label within one group.

    Attributes:
        attribute: what was grouped by.
        group: the group.
        label: the label; empty for all labels together.
        images: images of the group whose target of the label is known.
        positives: among them.
        patients: among them.
        metrics: by name; those of a group too small are undefined, with the count.
    """

    attribute: str
    group: str
    label: str
    images: int
    positives: int
    patients: int
    metrics: Mapping[str, MetricValue]


@dataclass(frozen=True)
class Difference:
    """A group against the rest in one metric.

    Attributes:
        attribute: what was grouped by.
        group: the group.
        label: the label; empty for all labels together.
        metric: its name.
        value: in the group.
        rest: in everybody else.
        difference: value less rest.
        p: two-sided, not corrected; NaN where not estimable.
        p_holm: corrected over all tests of the audit (Holm 1979).
        p_bh: the same for the share of false discoveries (Benjamini & Hochberg 1995).
        found: whether `p_holm` is below the level asked for.
        mirrored: whether it is the difference of the first of two groups, seen from the second.
    """

    attribute: str
    group: str
    label: str
    metric: str
    value: MetricValue
    rest: MetricValue
    difference: MetricValue
    p: float
    p_holm: float
    p_bh: float
    found: bool
    mirrored: bool = False


@dataclass(frozen=True)
class Gap:
    """How far the groups of one attribute lie apart.

    Attributes:
        attribute: what was grouped by.
        label: the label.
        metric: `equalised_odds`, `sensitivity`, `fpr`, `selection_rate`, `observed_minus_expected` or `auroc`.
        gap: largest less smallest; of `equalised_odds` the larger of the gaps of sensitivity and FPR. It is above 0 by
            chance alone, and more so with many small groups.
        worst: group at the bad end; of a gap without a bad end, the lowest.
        best: group at the other end.
        groups: how many groups are estimable.
    """

    attribute: str
    label: str
    metric: str
    gap: MetricValue
    worst: str
    best: str
    groups: int


@dataclass(frozen=True)
class Cause:
    """Something besides the model in which groups differ.

    Attributes:
        attribute: what was grouped by.
        what: `prevalence of Effusion`, `images with an alert`, `view`, ...
        shares: by group; empty where the groups differ in the mix of another attribute.
        strength: Cramér's V, 0 unrelated to 1 determined; NaN where not estimable.
        p: of the chi-square test over images, corrected by Holm over all causes.
    """

    attribute: str
    what: str
    shares: Mapping[str, float]
    strength: float
    p: float


@dataclass(frozen=True)
class Audit:
    """Everything an audit found.

    Attributes:
        groups: results of every label in every group.
        differences: every tested metric of every group against the rest.
        gaps: of every attribute and label.
        causes: what else differs between groups.
        notes: what was left out, assumed or not estimable, one sentence each.
        images: rows audited.
        patients: among them.
        tests: differences that could be tested, mirror images (men against women, women against men) counted once.
        alpha: level of `Difference.found`.
        confidence: coverage of the intervals.
    """

    groups: tuple[GroupResult, ...]
    differences: tuple[Difference, ...]
    gaps: tuple[Gap, ...]
    causes: tuple[Cause, ...]
    notes: tuple[str, ...]
    images: int
    patients: int
    tests: int
    alpha: float
    confidence: float

    @property
    def found(self) -> tuple[Difference, ...]:
        """Differences that outlast Holm's correction, the surest first; of two groups the first speaks for both."""
        return tuple(sorted((one for one in self.differences if one.found and not one.mirrored), key=lambda one: one.p))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return plain(self)
