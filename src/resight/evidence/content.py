"""What a report is made of: small frozen values that whoever ran the experiment fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import UInt8

from resight.evaluation import Evaluation, OperatingPoint, Prognosis
from resight.types import MetricValue

if TYPE_CHECKING:  # a section holds charts, which know this file
    from resight.evidence.page import Section

Outcome = Literal["true positive", "true negative", "false positive", "false negative", "correct", "wrong"]


@dataclass(frozen=True)
class LabelCount:
    """How often a label is present, absent and not known among some images."""

    label: str
    positives: int
    negatives: int
    masked: int


@dataclass(frozen=True)
class SplitSummary:
    """Who is in one split.

    Attributes:
        name: `train`, `validation`, `test`, or what the caller calls it.
        images: number of images.
        patients: number of patients; None where the cohort does not say who they are.
        labels: counts of every label, in order.
        attributes: what is known about the people and the images, in words: `{"age": "median 52 (40 to 63)"}`.
    """

    name: str
    images: int
    patients: int | None
    labels: tuple[LabelCount, ...]
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Exclusion:
    """An image that was assessed and not used."""

    image: str
    reason: str


@dataclass(frozen=True)
class Alert:
    """An image a sentinel noticed, for example as lying on its side; it was used all the same."""

    image: str
    name: str
    detail: str


@dataclass(frozen=True)
class LeakCheck:
    """Whether training and test images are independent.

    Attributes:
        passed: nothing was found; None when it could not be checked.
        findings: what was compared and what came of it, one sentence each.
    """

    passed: bool | None
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One image with what the model said and what the reference standard says.

    Attributes:
        image: grey `(H, W)` or colour `(H, W, 3)`.
        overlay: the same image with its explanation drawn in; None when there is none.
        name: of the image, as the cohort calls it.
        label: which label is spoken of.
        probability: calibrated probability of the label.
        decision: what the operating point makes of it.
        target: reference standard; None when not known.
        outcome: how decision and reference standard agree.
        operating_point: name and threshold, for example `youden, 0.31`.
        threshold: the same threshold as a number, to be marked on the bar; None when not known.
    """

    image: UInt8[np.ndarray, "H W *C"]
    overlay: UInt8[np.ndarray, "H W 3"] | None
    name: str
    label: str
    probability: float
    decision: bool
    target: bool | None
    outcome: Outcome
    operating_point: str = ""
    threshold: float | None = None


@dataclass(frozen=True)
class SubgroupRow:
    """Results within one group, for example women."""

    attribute: str
    group: str
    label: str
    images: int
    positives: int
    metrics: Mapping[str, MetricValue]


@dataclass(frozen=True)
class BudgetLine:
    """What a network with exits or gates does for part of its work, on held-out images.

    Attributes:
        name: share of the work it was fitted for.
        share: of the whole network's FLOPs that it took.
        auroc: mean over labels; None where it is not defined.
        change: AUROC against the network without a budget; None for that network itself.
        seconds: for one image alone; NaN where it was not measured.
        exits: name, images that left there, and the whole network's Brier score on them.
        falls: groups whose sensitivity is lower, one sentence each.
    """

    name: str
    share: float
    auroc: float | None
    change: MetricValue | None
    seconds: float
    exits: tuple[tuple[str, int, MetricValue], ...]
    falls: tuple[str, ...]


@dataclass(frozen=True)
class InputRow:
    """One choice of inputs, answering for the same images as every other.

    Attributes:
        name: which inputs it has.
        value: mean AUROC over labels, or Uno's concordance of a prognosis.
        gain: all inputs less this one, with its paired interval; None for all inputs themselves.
        p: two-sided, that there is no gain; NaN where only an interval is known.
        how: what answered.
    """

    name: str
    value: MetricValue
    gain: MetricValue | None
    p: float
    how: str


@dataclass(frozen=True)
class ReportContent:
    """Everything a report says; what is empty gets no section, except where its absence must be said.

    Attributes:
        title: name of the experiment.
        evaluation: results with intervals, curves, baselines and operating points.
        evaluated_on: split the results come from.
        intended_use: in the words of the model's maker.
        verdict: sentences put after the summary that the report writes itself.
        operating_points: how thresholds were chosen, and on what.
        assessed: number of images the cohort named, of which those in no split count as excluded; None leaves the
            flow of images out.
        splits: in the order train, validation, test.
        excluded: images that were not used.
        leak_check: independence of training and test images; None says that it was not checked.
        histories: of every network trained, one mapping an epoch: `epoch, loss, validation_loss, validation_auroc`.
        best_epochs: epoch kept, per history.
        examples: images with their explanation.
        explained_by: name of the method that drew the overlays.
        alerts: what sentinels noticed.
        subgroups: results by group.
        budgets: the network without a budget, then with less work; empty for networks that cannot skip any.
        sections: others, shown before the limits.
        inputs: what each input adds, all inputs first.
        inputs_say: what follows from that, one sentence each.
        prognosis: where labels are intervals of time.
        group_findings: what follows from them, one sentence each.
        group_gaps: the widest gap of each attribute, one sentence each.
        limits: sentences added to those the report derives from the numbers.
        sources: number of hospitals or data sets the images come from; None when not known.
        provenance: versions, seed, hardware, code and data fingerprint; may be nested.
        settings_toml: the resolved settings file.
        created: date and time, as text; empty leaves it out.
    """

    title: str
    evaluation: Evaluation
    evaluated_on: str = "test"
    intended_use: str = ""
    verdict: tuple[str, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()
    assessed: int | None = None
    splits: tuple[SplitSummary, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    leak_check: LeakCheck | None = None
    histories: tuple[Sequence[Mapping[str, float | None]], ...] = ()
    best_epochs: tuple[int, ...] = ()
    examples: tuple[Example, ...] = ()
    explained_by: str = ""
    alerts: tuple[Alert, ...] = ()
    subgroups: tuple[SubgroupRow, ...] = ()
    budgets: tuple[BudgetLine, ...] = ()
    sections: tuple[Section, ...] = ()
    inputs: tuple[InputRow, ...] = ()
    inputs_say: tuple[str, ...] = ()
    prognosis: Prognosis | None = None
    group_findings: tuple[str, ...] = ()
    group_gaps: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    sources: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    settings_toml: str = ""
    created: str = ""
