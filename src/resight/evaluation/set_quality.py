"""Do sets hold the truth as often as promised, and how much do they say: coverage and size, also by group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from resight.evaluation.conformal_sets import Conformal
from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import patient_index
from resight.settings import plain
from resight.types import Mask, MetricValue, Scores, Targets

_FEWEST = 10
"""Images a group needs for its coverage to be shown."""


@dataclass(frozen=True)
class SetQuality:
    """How sets did on data they were not chosen on.

    Attributes:
        promised: coverage, or 1 less the share of findings that may be missed.
        coverage: by label (`all` for a multiclass task): share of images whose set holds the truth.
        size: by label: mean number of answers left.
        by_class: coverage within the positives and the negatives of a label, or within each class.
        by_group: coverage within each group, the labels together.
        recall: for risk control: mean share of an image's findings that its set holds.
    """

    promised: float
    coverage: Mapping[str, MetricValue]
    size: Mapping[str, float]
    by_class: Mapping[str, MetricValue]
    by_group: Mapping[str, MetricValue]
    recall: MetricValue | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain(self)


def judge_sets(
    conformal: Conformal,
    probabilities: Scores,
    targets: Targets,
    mask: Mask,
    labels: tuple[str, ...],
    *,
    patients: Shaped[np.ndarray, " N"] | None = None,
    own: Shaped[np.ndarray, " N"] | None = None,
    groups: Mapping[str, Shaped[np.ndarray, " N"]] | None = None,
    confidence: float = 0.95,
) -> SetQuality:
    """Judge sets on test data.

    Args:
        conformal: the thresholds.
        probabilities: `(N, L)`.
        targets: `(N, L)`; only 0 and 1 count.
        mask: true where the target counts.
        labels: names of the L columns.
        patients: patient of each image, for the intervals.
        own: of each image the group whose thresholds it gets, from `Conformal.groups_of`.
        groups: by attribute the group of each image; groups of fewer than 10 images are not estimable.
        confidence: of the intervals.
    """
    usable = mask & ((targets == 0) | (targets == 1)) & ~np.isnan(probabilities)
    members = conformal.members(np.nan_to_num(probabilities, nan=0.5), own)
    owner = np.arange(len(targets)) if patients is None else patient_index(patients)[0]
    positive = targets > 0

    def share(held: Bool[np.ndarray, " n"], of: np.ndarray[Any, Any], reason: str = "no images") -> MetricValue:
        return proportion(held, of, confidence=confidence, undefined_because=reason)

    recall = None
    if conformal.task == "multiclass":
        rows = usable.all(axis=1)
        truth = targets[rows].argmax(axis=1)
        held = members[rows, :, 0][np.arange(len(truth)), truth]
        owners, where = owner[rows], np.flatnonzero(rows)
        coverage = {"all": share(held, owners)}
        size = {"all": float(members[rows].sum(axis=(1, 2)).mean()) if len(truth) else float("nan")}
        by_class = {
            name: share(held[truth == k], owners[truth == k], "no images of this class")
            for k, name in enumerate(labels)
        }
    else:
        image, column = np.nonzero(usable)
        held = members[image, column, positive[image, column].astype(int)]
        owners, where = owner[image], image
        coverage = {name: share(held[column == k], owners[column == k]) for k, name in enumerate(labels)}
        size = {name: _mean(members[usable[:, k], k].sum(axis=1)) for k, name in enumerate(labels)}
        by_class = {
            f"{name}, {kind}": share(held[rows], owners[rows], f"no {kind} images")
            for k, name in enumerate(labels)
            for kind, wanted in (("present", True), ("absent", False))
            for rows in [(column == k) & (positive[image, column] == wanted)]
        }
        if conformal.method == "risk_control":
            recall = _recall(members[:, :, 1], positive & usable)
    by_group: dict[str, MetricValue] = {}
    for attribute, values in (groups or {}).items():
        named = np.asarray(values, dtype=str)
        for group in np.unique(named):
            rows = named[where] == group
            images = len(np.unique(where[rows]))
            few = MetricValue.undefined(f"{images} images; {_FEWEST} are needed", images)
            by_group[f"{attribute} {group}"] = few if images < _FEWEST else share(held[rows], owners[rows])
    return SetQuality(conformal.coverage, coverage, size, by_class, by_group, recall)


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _recall(held: Bool[np.ndarray, "N L"], positive: Bool[np.ndarray, "N L"]) -> MetricValue:
    rows = positive.any(axis=1)
    if not rows.any():
        return MetricValue.undefined("no image has a finding", len(positive))
    each = (held & positive)[rows].sum(axis=1) / positive[rows].sum(axis=1)
    half = 1.96 * float(each.std(ddof=1)) / np.sqrt(len(each)) if len(each) > 1 else float("nan")
    mean = float(each.mean())
    return MetricValue(mean, max(0.0, mean - half), min(1.0, mean + half), int(rows.sum()), interval="normal")
