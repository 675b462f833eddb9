"""Sets of labels that hold the truth as often as promised, whatever the model (split conformal prediction).

Split conformal with the probability of the true class as score: Sadinle et al., JASA 2019, marginal and by class
(Mondrian: Vovk 2012). Control of the share of missed findings of an image: Angelopoulos et al., ICLR 2024, "Conformal
risk control", theorem 1. Where patients have several images each patient counts once, with its images sharing the
weight (Dunn et al., JASA 2023, pooled distributions).

The promise holds on average over calibration sets and new patients like those of the calibration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from resight.errors import SettingsError
from resight.evaluation.resampling import patient_index
from resight.settings import Options
from resight.types import Mask, Scores, Targets, Task

ConformalMethod = Literal["marginal", "class_conditional", "risk_control"]
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


class LabelThresholds(Options):
    """Least probability at which a label, or its absence, belongs to the set; none: it always does."""

    present: float | None = Field(default=None, description="the label belongs to the set at or above this")
    absent: float | None = Field(default=None, description="so does its absence, by 1 less the probability")
    note: str = Field(default="", description="why there is no threshold")


class Conformal(Options):
    """Thresholds that turn probabilities into sets; plain numbers, so they are kept in the bundle as JSON."""

    task: Task = Field(description="multiclass: one set over the labels; otherwise one set over present and absent")
    method: ConformalMethod
    coverage: float
    labels: tuple[LabelThresholds, ...] = Field(min_length=1, description="one a label, in order")
    chosen_on: str = Field(default="", description="name of the data they were chosen on")

    def members(self, probabilities: Scores) -> Bool[np.ndarray, "N L K"]:
        """What the sets hold.

        Args:
            probabilities: `(N, L)`; where it is NaN nothing can be left out.

        Returns:
            `(N, L, 1)` whether each class belongs to the set of a multiclass task, otherwise `(N, L, 2)`: whether its
            absence and its presence do.
        """
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.labels):
            raise SettingsError(f"probabilities {probabilities.shape}", expected=f"(N, {len(self.labels)})")
        present = ~(probabilities < _limits(label.present for label in self.labels))
        if self.task == "multiclass":
            return present[:, :, None]
        absent = ~(1 - probabilities < _limits(label.absent for label in self.labels))
        return np.stack([absent, present], axis=2)

    def words(self, probabilities: Scores) -> np.ndarray[Any, Any]:
        """The sets in words, `(N, L)`; None where the probability is NaN.

        `in` and `out` for classes, otherwise `present`, `absent`, `either` or `neither`.
        """
        members = self.members(probabilities)
        if self.task == "multiclass":
            words = np.array(["out", "in"], dtype=object)[members[:, :, 0].astype(int)]
        else:
            names = np.array(["neither", "absent", "present", "either"], dtype=object)
            words = names[members[:, :, 0] + 2 * members[:, :, 1].astype(int)]
        words[np.isnan(probabilities)] = None
        return words


def fit_conformal(
    probabilities: Scores,
    targets: Targets,
    mask: Mask,
    task: Task,
    options: ConformalOptions,
    *,
    patients: Sequence[Any] | np.ndarray[Any, Any] | None = None,
    chosen_on: str = "validation",
) -> Conformal:
    """Choose thresholds on data that the model did not learn from.

    A label with too few cases for the promise gets no threshold: its set then leaves nothing out.

    Args:
        probabilities: `(N, L)`, as they will be when sets are made: calibrated.
        targets: `(N, L)`; only 0 and 1 count.
        mask: true where the target counts.
        task: kind of classification.
        options: method and coverage.
        patients: patient of each image; each image its own when not given.
        chosen_on: name of these data.

    Raises:
        SettingsError: the shapes differ, or risk control is asked for where an image has but one label.
    """
    if not probabilities.shape == targets.shape == mask.shape:
        found = f"probabilities, targets and mask of shapes {probabilities.shape}, {targets.shape}, {mask.shape}"
        raise SettingsError(found, expected="the same (N, L)")
    usable = mask & ((targets == 0) | (targets == 1)) & ~np.isnan(probabilities)
    owner = np.arange(len(targets)) if patients is None else patient_index(np.asarray(patients))[0]
    least = 1 - options.coverage
    if options.method == "risk_control":
        if task != "multilabel":
            found, fix = f"risk control for a {task} task", "Use marginal or class_conditional."
            raise SettingsError(found, where="conformal", expected="multilabel", fix=fix)
        labels = _risk_controlled(probabilities, targets, usable, owner, least)
    elif task == "multiclass":
        labels = _classes(probabilities, targets, usable.all(axis=1), owner, options.method, least)
    else:
        labels = tuple(
            _both_sides(probabilities[rows, k], targets[rows, k] > 0, owner[rows], options.method, least)
            for k, rows in enumerate(usable.T)
        )
    return Conformal(task=task, method=options.method, coverage=options.coverage, labels=labels, chosen_on=chosen_on)


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
    allowed = least * (patients + 1) - 1e-9  # the new patient may fall anywhere, so one more than are there
    if allowed < 1:
        return None, f"{patients} patients; {_needed(least)} are needed for a coverage of {1 - least:g}"
    order = np.argsort(scores, kind="stable")
    # At the limit itself the truth is kept, so the patients strictly below, and the new one, must fit into the share.
    at = int(np.searchsorted(np.cumsum(weights[order]), allowed - 1 + 1e-9, side="right"))
    return float(scores[order[at]]), ""


def _risk_controlled(
    probabilities: Scores, targets: Targets, usable: Mask, owner: np.ndarray[Any, Any], most: float
) -> tuple[LabelThresholds, ...]:
    """One threshold for all labels; the share of an image's findings that lie below it is bounded on average."""
    positive = usable & (targets > 0)
    found = positive.any(axis=1)
    patients, weights = _shared(owner[found])
    allowed = most * (patients + 1) - 1
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
    at = int(np.searchsorted(below, allowed + 1e-9, side="right")) - 1
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


def _limits(values: Any) -> Float[np.ndarray, " L"]:
    return np.array([-np.inf if value is None else value for value in values])
