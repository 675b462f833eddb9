"""Thresholds chosen on validation data, and the decisions they make: Youden 1950, fixed rates, or costs of errors.

An image is called positive where its probability is at or above the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from resight.errors import PredictionsError, SettingsError, nearest
from resight.evaluation.discrimination import Binary, Values, counts_above
from resight.settings import Options, validate
from resight.types import Mask, Scores, Targets

_ROUNDING = 1e-9
"""Slack when a rate is compared with the rate asked for, so that 0.9 of 10 is 9."""


class OperatingRule(Options):
    """How a threshold is chosen."""

    kind: Literal["youden", "sensitivity", "specificity", "cost", "threshold"] = Field(
        default="youden", description="what is maximised, kept, or minimised"
    )
    value: float | None = Field(
        default=None,
        gt=0,
        description="the sensitivity or specificity to keep, the cost of a missed positive in false alarms, or "
        "the threshold itself; none for youden",
    )
    name: str = Field(default="", description="name of the operating point; made of kind and value when empty")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.value is None) != (self.kind == "youden"):
            raise ValueError("a value for every kind but youden")
        if self.value is not None and self.value > 1 and self.kind != "cost":
            raise ValueError("at most 1")
        return self

    @property
    def title(self) -> str:
        """Name of the operating point."""
        return self.name or (self.kind if self.value is None else f"{self.kind} {self.value:g}")


class OperatingPoint(Options):
    """One threshold of one label, and what it did on the data it was chosen on."""

    name: str = Field(description="name shared by the labels' thresholds")
    label: str = Field(description="the label it decides")
    threshold: float = Field(description="called positive at or above this probability")
    rule: OperatingRule = Field(description="how it was chosen")
    sensitivity: float | None = Field(default=None, description="on the data it was chosen on")
    specificity: float | None = Field(default=None, description="on the data it was chosen on")
    chosen_on: str = Field(default="", description="name of those data")
    note: str = Field(default="", description="what stood in the way of the rule")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OperatingPoint:
        """Read what `to_dict` wrote.

        Raises:
            SettingsError: a key is unknown or a value impossible.
        """
        return validate(cls, data, where="operating point")


def choose_operating_points(
    probabilities: Scores,
    targets: Targets,
    mask: Mask,
    labels: Sequence[str],
    rules: Sequence[OperatingRule],
    *,
    chosen_on: str = "validation",
) -> tuple[OperatingPoint, ...]:
    """Choose a threshold for every rule and label.

    The threshold lies halfway between the last score called positive and the first that is not, so that rounding
    elsewhere (float32, a CSV file) does not turn a decision. Equal scores are never parted. Of equally good thresholds
    `youden` takes the most sensitive, `cost` the most specific. Where one threshold keeps a rate on both sides, keeping
    sensitivity and keeping specificity are the same: the one with the largest sum of both, so that the one kept for its
    sensitivity is never the less sensitive. A label without positives or negatives gets 0.5, and a rate that no
    threshold but "all" or "none" reaches gets that one; `note` says so.

    Args:
        probabilities: `(N, L)`, as the decisions will see them: calibrated.
        targets: `(N, L)`; only 0 and 1 count.
        mask: true where the target counts.
        labels: names of the L columns.
        rules: what to choose; names must differ.
        chosen_on: name of these data, which must not be the test data.

    Raises:
        SettingsError: two rules share a name, or the shapes differ.
    """
    titles = [rule.title for rule in rules]
    if len(set(titles)) < len(titles):
        raise SettingsError(f"operating points named {titles}", expected="different names")
    if not probabilities.shape == targets.shape == mask.shape or probabilities.shape[1:] != (len(labels),):
        found = f"probabilities, targets and mask of shapes {probabilities.shape}, {targets.shape}, {mask.shape}"
        raise SettingsError(found, expected=f"(N, {len(labels)}) each")
    usable = mask & ((targets == 0) | (targets == 1)) & ~np.isnan(probabilities)
    points: list[OperatingPoint] = []
    for rule in rules:
        for column, label in enumerate(labels):
            rows = usable[:, column]
            facts = _choose(targets[rows, column], probabilities[rows, column], rule)
            points.append(OperatingPoint(name=rule.title, label=label, rule=rule, chosen_on=chosen_on, **facts))
    return tuple(points)


def decide(
    probabilities: Scores, labels: Sequence[str], points: Sequence[OperatingPoint], name: str
) -> Float[np.ndarray, "N L"]:
    """Decisions at one operating point: 1 at or above the threshold, 0 below, NaN where the probability is.

    Args:
        probabilities: `(N, L)`.
        labels: names of the L columns.
        points: thresholds, at least those of `name`.
        name: the operating point.

    Raises:
        PredictionsError: there is no operating point of that name, or it lacks a label.
    """
    thresholds = {point.label: point.threshold for point in points if point.name == name}
    if not thresholds:
        raise PredictionsError(f"no operating point {name!r}", fix=nearest(name, {p.name for p in points}))
    missing = [label for label in labels if label not in thresholds]
    if missing:
        raise PredictionsError(f"operating point {name!r} has no threshold for label {missing[0]!r}")
    cut = np.array([thresholds[label] for label in labels])
    return np.where(np.isnan(probabilities), np.nan, (probabilities >= cut).astype(np.float64))


def _choose(targets: Binary, probabilities: Values, rule: OperatingRule) -> dict[str, Any]:
    positives, negatives = int(np.sum(targets > 0)), int(np.sum(targets == 0))
    if not positives or not negatives:
        threshold = rule.value if rule.kind == "threshold" else 0.5
        note = "" if rule.kind == "threshold" else f"{positives} positives, {negatives} negatives: 0.5 taken"
        return {"threshold": threshold, "note": note}
    scores, true, false = counts_above(targets, probabilities)
    sensitivity, specificity = true / positives, 1 - false / negatives
    if rule.kind == "threshold":
        at = int(np.searchsorted(-scores, -float(rule.value or 0), side="right")) - 1
        threshold, note = float(rule.value or 0), ""
    else:
        at, note = _best(sensitivity, specificity, positives / negatives, rule)
        threshold = halfway(scores, at)
    return {
        "threshold": threshold,
        "sensitivity": float(sensitivity[at]),
        "specificity": float(specificity[at]),
        "note": note,
    }


def _best(sensitivity: Values, specificity: Values, odds: float, rule: OperatingRule) -> tuple[int, str]:
    """Index of the threshold the rule wants; thresholds fall, so sensitivity rises."""
    value = rule.value or 0.0
    index = sensitivity + specificity - 1
    both = np.minimum(sensitivity, specificity) >= value - _ROUNDING
    if rule.kind in ("sensitivity", "specificity") and both.any():
        return int(np.flatnonzero(both & (index >= index[both].max() - _ROUNDING))[-1]), ""
    if rule.kind == "sensitivity":
        at = int(np.argmax(sensitivity >= value - _ROUNDING))
        return at, "only calling everything positive reaches it" if specificity[at] == 0 else ""
    if rule.kind == "specificity":
        at = int(np.flatnonzero(specificity >= value - _ROUNDING)[-1])
        return at, "only calling nothing positive reaches it" if at == 0 else ""
    if rule.kind == "cost":
        loss = value * odds * (1 - sensitivity) + (1 - specificity)
        return int(np.argmax(loss <= loss.min() + _ROUNDING)), ""
    at = int(np.flatnonzero(index >= index.max() - _ROUNDING)[-1])
    return at, "no threshold is better than chance" if index.max() < _ROUNDING else ""


def halfway(scores: Values, at: int) -> float:
    """Threshold between score `at`, the last called positive, and the next; above the highest for none, 0 for all.

    Args:
        scores: of `counts_above`, falling, with infinity first.
        at: place of the last score that is called positive.
    """
    if at == 0:
        return float(np.nextafter(max(scores[1], 1.0), np.inf))
    if at == len(scores) - 1:
        return min(0.0, float(scores[at]))
    middle = float((scores[at] + scores[at + 1]) / 2)
    return middle if middle > scores[at + 1] else float(scores[at])
