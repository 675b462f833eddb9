"""Sets of labels that hold the truth as often as promised, whatever the model (split conformal prediction).

Split conformal with the probability of the true class as score: Sadinle et al., JASA 2019, marginal, by class and by
group of patients (Mondrian: Vovk 2012). Control of the share of missed findings of an image: Angelopoulos et al.,
ICLR 2024, "Conformal risk control", theorem 1. Where patients have several images each patient counts once, with its
images sharing the weight (Dunn et al., JASA 2023, pooled distributions).

The promise holds on average over calibration sets and new patients like those of the calibration; thresholds of a
group's own make it hold within the group, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import Field, model_validator

from resight.errors import SettingsError
from resight.evaluation.conformal_sets import Conformal, ConformalMethod, LabelThresholds
from resight.evaluation.groups import GroupRule
from resight.evaluation.resampling import patient_index
from resight.settings import Options
from resight.types import Mask, Scores, Targets, Task

Weights = Float[np.ndarray, " n"]


class ConformalOptions(Options):
    """How sets of labels are made; fitted on the validation split."""

    method: ConformalMethod = Field(
        default="class_conditional",
        description="coverage over all images, within each class, or (multilabel) a bound on the findings missed",
    )
    coverage: float = Field(
        default=0.9, gt=0, lt=1, description="promised coverage; for risk_control 1 less the share of findings missed"
    )
    group: str = Field(
        default="",
        description="attribute within whose groups the promise holds, too, each by thresholds of its own; `sex+age` "
        "for several",
    )
    edges: dict[str, tuple[float, ...]] = Field(
        default={}, description="rising edges of the groups of a numeric attribute; default: decades of age, quartiles"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ConformalOptions:
        if self.edges and not self.group:
            raise ValueError("edges only with the group that they belong to")
        return self


def fit_conformal(
    probabilities: Scores,
    targets: Targets,
    mask: Mask,
    task: Task,
    options: ConformalOptions,
    *,
    patients: Sequence[Any] | np.ndarray[Any, Any] | None = None,
    images: pd.DataFrame | None = None,
    chosen_on: str = "validation",
) -> Conformal:
    """Choose thresholds on data that the model did not learn from.

    A label with too few cases for the promise gets no threshold: its set then leaves nothing out. With groups, one that
    has too few cases gets the lowest threshold of any group, which makes the largest set, and so do images of no known
    group.

    Args:
        probabilities: `(N, L)`, as they will be when sets are made: calibrated.
        targets: `(N, L)`; only 0 and 1 count.
        mask: true where the target counts.
        task: kind of classification.
        options: method, coverage and groups.
        patients: patient of each image; each image its own when not given.
        images: N rows with the attributes as columns; needed for groups.
        chosen_on: name of these data.

    Raises:
        SettingsError: the shapes differ, risk control is asked for where an image has but one label, or there is no
            such attribute to make groups of.
    """
    if not probabilities.shape == targets.shape == mask.shape:
        found = f"probabilities, targets and mask of shapes {probabilities.shape}, {targets.shape}, {mask.shape}"
        raise SettingsError(found, expected="the same (N, L)")
    if options.method == "risk_control" and task != "multilabel":
        found, fix = f"risk control for a {task} task", "Use marginal or class_conditional."
        raise SettingsError(found, where="conformal", expected="multilabel", fix=fix)
    usable = mask & ((targets == 0) | (targets == 1)) & ~np.isnan(probabilities)
    owner = np.arange(len(targets)) if patients is None else patient_index(np.asarray(patients))[0]

    def among(rows: Bool[np.ndarray, " N"] | slice) -> tuple[LabelThresholds, ...]:
        return _thresholds(probabilities[rows], targets[rows], usable[rows], owner[rows], task, options)

    everybody = among(slice(None))
    facts: dict[str, Any] = {"task": task, "method": options.method, "coverage": options.coverage}
    if not options.group:
        return Conformal(**facts, labels=everybody, chosen_on=chosen_on)
    rule = GroupRule.fit(pd.DataFrame() if images is None else images, options.group, options.edges)
    names = rule.names(pd.DataFrame() if images is None else images)
    own = {str(name): among(names == name) for name in np.unique(names) if name}
    lowest = tuple(_lowest(limits) for limits in zip(everybody, *own.values(), strict=True))
    groups = {name: tuple(map(_completed, limits, lowest)) for name, limits in own.items()}
    return Conformal(**facts, labels=lowest, chosen_on=chosen_on, rule=rule, groups=groups)


def _thresholds(
    probabilities: Scores,
    targets: Targets,
    usable: Mask,
    owner: np.ndarray[Any, Any],
    task: Task,
    options: ConformalOptions,
) -> tuple[LabelThresholds, ...]:
    least = 1 - options.coverage
    if options.method == "risk_control":
        return _risk_controlled(probabilities, targets, usable, owner, least)
    if task == "multiclass":
        return _classes(probabilities, targets, np.logical_and.reduce(usable, axis=1), owner, options.method, least)
    return tuple(
        _both_sides(probabilities[rows, k], targets[rows, k] > 0, owner[rows], options.method, least)
        for k, rows in enumerate(usable.T)
    )


def _lowest(limits: Sequence[LabelThresholds]) -> LabelThresholds:
    """The thresholds that leave least out, and why there are none: as it is for everybody, who come first."""
    present, absent = (
        min((value for one in limits if (value := getattr(one, side)) is not None), default=None)
        for side in ("present", "absent")
    )
    return LabelThresholds(present=present, absent=absent, note=limits[0].note)


def _completed(own: LabelThresholds, lowest: LabelThresholds) -> LabelThresholds:
    """Thresholds of a group, with the lowest of any group where it has too few cases for its own."""
    return LabelThresholds(
        present=lowest.present if own.present is None else own.present,
        absent=lowest.absent if own.absent is None else own.absent,
        note="" if not own.note or lowest.note else f"{own.note}, so the lowest threshold of any group stands in",
    )


def _classes(
    probabilities: Scores,
    targets: Targets,
    rows: Bool[np.ndarray, " N"],
    owner: np.ndarray[Any, Any],
    method: ConformalMethod,
    least: float,
) -> tuple[LabelThresholds, ...]:
    truth = targets[rows].argmax(axis=1)
    of_truth = probabilities[rows][np.arange(len(truth)), truth]
    if method == "marginal":
        limit, note = _lower_limit(of_truth, owner[rows], least)
        return (LabelThresholds(present=limit, note=note),) * probabilities.shape[1]
    found = [_lower_limit(of_truth[truth == k], owner[rows][truth == k], least) for k in range(probabilities.shape[1])]
    return tuple(LabelThresholds(present=limit, note=note) for limit, note in found)


def _both_sides(
    probability: Weights,
    positive: Bool[np.ndarray, " n"],
    owner: np.ndarray[Any, Any],
    method: ConformalMethod,
    least: float,
) -> LabelThresholds:
    of_truth = np.where(positive, probability, 1 - probability)
    if method == "marginal":
        limit, note = _lower_limit(of_truth, owner, least)
        return LabelThresholds(present=limit, absent=limit, note=note)
    (present, a), (absent, b) = (_lower_limit(of_truth[rows], owner[rows], least) for rows in (positive, ~positive))
    notes = [f"{kind}: {note}" for kind, note in (("present", a), ("absent", b)) if note]
    return LabelThresholds(present=present, absent=absent, note="; ".join(notes))


def _lower_limit(scores: Weights, owner: np.ndarray[Any, Any], least: float) -> tuple[float | None, str]:
    """The probability of the truth that at most a share `least` of new patients stays below, and why there is none."""
    patients, weights = _shared(owner)
    allowed = least * (patients + 1) + 1e-9  # the new patient may fall anywhere, so one more than are there
    if allowed < 1:
        return None, f"{patients} patients; {_needed(least)} are needed for a coverage of {1 - least:g}"
    order = np.argsort(scores, kind="stable")
    # At the limit itself the truth is kept, so the patients strictly below, and the new one, must fit into the share.
    at = int(np.searchsorted(np.cumsum(weights[order]), allowed - 1, side="right"))
    return float(scores[order[at]]), ""


def _risk_controlled(
    probabilities: Scores, targets: Targets, usable: Mask, owner: np.ndarray[Any, Any], most: float
) -> tuple[LabelThresholds, ...]:
    """One threshold for all labels; the share of an image's findings that lie below it is bounded on average."""
    positive = usable & (targets > 0)
    found = positive.any(axis=1)
    patients, weights = _shared(owner[found])
    allowed = most * (patients + 1) - 1 + 1e-9
    count = probabilities.shape[1]
    if allowed < 0 or patients == 0:
        note = f"{patients} patients with findings; {_needed(most)} are needed"
        return (LabelThresholds(note=note),) * count
    share = positive[found] / positive[found].sum(axis=1, keepdims=True) * weights[:, None]
    held = positive[found]
    values, losses = probabilities[found][held], share[held]
    order = np.argsort(values, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(losses[order])])
    # `below[i]` is the risk of a threshold at the i-th value: all strictly below it are missed.
    at = int(np.searchsorted(below, allowed, side="right")) - 1
    limit = float(values[order][min(at, len(values) - 1)])
    return (LabelThresholds(present=limit),) * count


def _needed(least: float) -> int:
    """Fewest patients for which leaving a share `least` out can be promised."""
    return math.ceil(round(1 / least, 9)) - 1


def _shared(owner: np.ndarray[Any, Any]) -> tuple[int, Weights]:
    """Number of patients and the weight of each image: every patient weighs 1."""
    if not len(owner):
        return 0, np.empty(0)
    _, index, sizes = np.unique(owner, return_inverse=True, return_counts=True)
    return len(sizes), 1 / sizes[index]
