"""Thresholds by group, chosen on validation rows: equal sensitivity, or equalised odds (Hardt et al. 2016).

A threshold of its own for a group changes who is called, not what the model knows: what one group gains in sensitivity
it pays in false alarms. The equalised odds here are without the coin tosses of the paper, since no doctor tosses one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from resight.evaluation.discrimination import Binary, Values, counts_above
from resight.evaluation.groups import Grouping
from resight.evaluation.operating_points import OperatingRule, choose_operating_points, halfway
from resight.fairness.measures import few_of_a_class
from resight.types import Mask, Scores, Targets

Goal = Literal["equal_sensitivity", "equalised_odds"]


@dataclass(frozen=True)
class GroupThreshold:
    """The threshold of one label in one group; `note` says why it is the common one."""

    group: str
    label: str
    threshold: float
    note: str = ""


def choose_thresholds(
    probabilities: Scores,
    targets: Targets,
    mask: Mask,
    patients: np.ndarray,
    grouping: Grouping,
    labels: tuple[str, ...],
    goal: Goal,
    *,
    rule: OperatingRule,
    least: int,
) -> tuple[GroupThreshold, ...]:
    """Choose a threshold for every label and group.

    The common threshold of a label is chosen by `rule` on all validation rows; each group then gets the one that comes
    nearest to what the common one does for everybody: to its sensitivity, or to its sensitivity and FPR together.

    Args:
        probabilities: `(N, L)` of the validation rows.
        targets: `(N, L)`.
        mask: true where the target counts.
        patients: number of each row's patient.
        grouping: of the same rows.
        labels: names.
        goal: what is made equal.
        rule: of the common threshold.
        least: patients with positives, and with negatives, without which a group keeps the common threshold.
    """
    common = choose_operating_points(probabilities, targets, mask, labels, (rule,))
    chosen: list[GroupThreshold] = []
    for column, point in enumerate(common):
        known = mask[:, column] & ~np.isnan(probabilities[:, column])
        y, p = targets[:, column], probabilities[:, column]
        wanted = _rates(y[known], p[known] >= point.threshold)
        for number, group in enumerate(grouping.groups):
            rows: Bool[np.ndarray, " N"] = known & grouping.members(number)
            reason = few_of_a_class(y[rows], patients[rows], least)
            if reason or np.isnan(wanted).any():
                chosen.append(GroupThreshold(group, point.label, point.threshold, reason or point.note))
            else:
                chosen.append(GroupThreshold(group, point.label, _nearest(y[rows], p[rows], wanted, goal)))
        chosen.append(GroupThreshold("", point.label, point.threshold, "where the group is not known"))
    return tuple(chosen)


def decide_by_group(
    probabilities: Scores, grouping: Grouping, labels: tuple[str, ...], thresholds: tuple[GroupThreshold, ...]
) -> Float[np.ndarray, "N L"]:
    """Decisions 0 and 1; NaN where the probability is. Groups without a threshold get that of unknown groups."""
    found: Mapping[tuple[str, str], float] = {(one.group, one.label): one.threshold for one in thresholds}
    names = np.array([*grouping.groups, ""], dtype=object)
    cut = np.array([[found.get((name, label), found["", label]) for label in labels] for name in names])
    limits = cut[grouping.index]  # -1, not known, is the last row
    return np.where(np.isnan(probabilities), np.nan, (probabilities >= limits).astype(np.float64))


def _rates(y: Binary, called: Binary) -> Float[np.ndarray, " 2"]:
    """Sensitivity and FPR; NaN where undefined."""
    return np.array([called[y == value].mean() if (y == value).any() else np.nan for value in (1, 0)])


def _nearest(y: Binary, p: Values, wanted: Float[np.ndarray, " 2"], goal: Goal) -> float:
    """Threshold halfway between two scores whose rates come nearest; of equally near ones the most sensitive."""
    scores, true, false = counts_above(y, p)
    distance = np.abs(true / true[-1] - wanted[0])
    if goal == "equalised_odds":
        distance = np.maximum(distance, np.abs(false / false[-1] - wanted[1]))
    at = int(np.flatnonzero(distance <= distance.min() + 1e-9)[-1])
    return halfway(scores, at)
