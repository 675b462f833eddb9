"""How much of a network each image needs: when to leave it early, chosen on validation data for every budget.

Leaving by confidence: Teerapittayanon et al. 2016, section 3, with calibrated probabilities and a limit for each exit,
as Kaya et al. 2019 advise. A label is decided at the first exit that is sure of it; an image leaves when all its labels
are decided, and a label keeps the answer of the exit that decided it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy.special import logit

from resight.errors import SettingsError
from resight.evaluation.discrimination import auroc
from resight.evaluation.group_changes import GroupChange
from resight.evaluation.operating_points import OperatingPoint
from resight.evaluation.recalibration import Calibration, CalibrationMethod, fit_calibration
from resight.settings import Options
from resight.types import Mask, Scores, Targets, Task

_LEAVING = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9)
"""Shares of the validation images that may leave at one exit; tried in all combinations."""
_STEP = 0.04
"""Of the points within one step in FLOPs the best is kept, so that a bundle holds 25 at most."""
_CERTAIN = 1e-7
"""Probabilities are kept this far from 0 and 1, thresholds further: a threshold of 0 decides nothing."""
_DECIDING = 1e-3


class BudgetPoint(Options):
    """One way to run the network, and what it did on the images it was chosen on."""

    share: float = Field(gt=0, description="mean share of the whole network's FLOPs")
    gate_threshold: float = Field(
        default=0.5, ge=0, le=1, description="units run for images whose gate is at it or above"
    )
    margins: tuple[float | None, ...] = Field(
        default=(),
        description="of each exit: distance in logits from the deciding threshold at which a label is decided; "
        "none: the exit is not asked",
    )
    calibrations: tuple[Calibration, ...] = Field(min_length=1, description="of each exit, and of the last classifier")
    operating_points: tuple[OperatingPoint, ...] = Field(
        default=(), description="thresholds for answers at this budget"
    )
    auroc: float | None = Field(default=None, description="mean over labels")
    log_loss: float | None = Field(default=None, description="mean over labels and images")
    groups: tuple[GroupChange, ...] = Field(default=(), description="sensitivity by group against the whole network")
    falls: tuple[str, ...] = Field(default=(), description="groups whose sensitivity falls, one sentence each")
    refused: bool = Field(default=False, description="not to be used, because of those falls")


class Budgets(Options):
    """Ways to run one network, the cheapest first; each better than all before it on the images they were chosen on."""

    exits: tuple[str, ...] = Field(default=(), description="names of the exits in order of work")
    deciding: tuple[float, ...] = Field(description="of each label: the threshold that sureness is measured from")
    whole_flops: int = Field(gt=0, description="of the network with all units and no exits, for one image")
    whole_auroc: float | None = Field(default=None, description="of the network as it is without a budget")
    points: tuple[BudgetPoint, ...] = Field(min_length=1)

    def choose(self, budget: float, *, where: str) -> BudgetPoint:
        """The best point whose FLOPs are within a budget.

        Args:
            budget: share of the whole network's FLOPs, above 0 and at most 1.
            where: name of the model, for messages.

        Raises:
            SettingsError: the budget is no such share, below the cheapest point, or only refused points are within it.
        """
        if not 0 < budget <= 1:
            raise SettingsError(f"budget = {budget:g}", where=where, expected="a share of the FLOPs above 0, at most 1")
        within = [point for point in self.points if point.share <= budget + 1e-9]
        if not within:
            expected = f"at least {self.points[0].share:.2f}, the least this model was fitted for"
            raise SettingsError(f"budget = {budget:g}", where=where, expected=expected)
        if allowed := [point for point in within if not point.refused]:
            return allowed[-1]
        found = f"budget = {budget:g} is refused, for {within[-1].falls[0]}"
        least = next((f"Give at least {point.share:.2f}." for point in self.points if not point.refused), "")
        raise SettingsError(found, where=where, fix=least or "Predict without a budget.")


@dataclass(frozen=True)
class Trace:
    """What a network says of N images at each of E places where it can answer, the last one being its end.

    Attributes:
        logits: `(N, E, L)`.
        flops: work until each place, `(N, E)`, as shares of the whole network, without the exits' own layers.
        exit_flops: of each exit's own layers, `(E - 1,)`, as shares.
        gate_threshold: the gates' threshold in this pass.
    """

    logits: Float[np.ndarray, "N E L"]
    flops: Float[np.ndarray, "N E"]
    exit_flops: Float[np.ndarray, " E-1"]
    gate_threshold: float = 0.5


@dataclass(frozen=True)
class Left:
    """Answers of images that left a network where it was sure.

    Attributes:
        logits: `(N, L)` of the place that decided the label.
        probabilities: calibrated for that place.
        decided_at: index of the place, `(N, L)`.
        left_at: where each image left, `(N,)`.
        share: of the whole network's FLOPs, `(N,)`.
    """

    logits: Scores
    probabilities: Scores
    decided_at: Int[np.ndarray, "N L"]
    left_at: Int[np.ndarray, " N"]
    share: Float[np.ndarray, " N"]


def sureness(probabilities: Scores, deciding: Sequence[float], task: Task) -> Scores:
    """Distance of each label's logit from its deciding threshold; for classes, of the likeliest from the next.

    Args:
        probabilities: calibrated, `(N, L)`.
        deciding: threshold of each label; without meaning for a multiclass task.
        task: classes are decided together, labels one by one.
    """
    p = np.clip(probabilities, _CERTAIN, 1 - _CERTAIN)
    if task == "multiclass":
        ordered = np.sort(np.log(p), axis=1)
        return np.repeat(ordered[:, -1:] - ordered[:, -2:-1], p.shape[1], axis=1)
    return np.abs(logit(p) - logit(np.clip(deciding, _DECIDING, 1 - _DECIDING)))


def leave(trace: Trace, point: BudgetPoint, deciding: Sequence[float], task: Task) -> Left:
    """What the network would answer, and spend, if images left it as the point says.

    Args:
        trace: from a pass with the point's gate threshold.
        point: limits and calibrations.
        deciding: threshold of each label.
        task: kind of classification.
    """
    places = range(trace.logits.shape[1])
    probabilities = np.stack([point.calibrations[e].apply(trace.logits[:, e]) for e in places], axis=1)
    sure = np.stack([sureness(probabilities[:, e], deciding, task) for e in places], axis=1)
    at = _decided_at(sure, point.margins)
    rows, columns = np.arange(len(at))[:, None], np.arange(at.shape[1])
    left_at = at.max(axis=1)
    return Left(
        trace.logits[rows, at, columns],
        probabilities[rows, at, columns],
        at,
        left_at,
        _spent(trace, point.margins, left_at),
    )


def fit_points(
    traces: Sequence[Trace],
    targets: Targets,
    mask: Mask,
    task: Task,
    *,
    deciding: Sequence[float],
    method: CalibrationMethod,
) -> tuple[BudgetPoint, ...]:
    """Every way to run the network that no cheaper one is as good as: FLOPs against the log loss of validation images.

    The log loss is the measure because it moves with every image; the AUROC of a few hundred images does not.

    Args:
        traces: of the validation images, one a gate threshold.
        targets: `(N, L)`.
        mask: true where the target counts.
        task: kind of classification.
        deciding: threshold of each label.
        method: calibrates each place where the network can answer.

    Returns:
        Points, cheapest first, without operating points and groups.
    """
    known = mask & ((targets == 0) | (targets == 1))
    found: list[BudgetPoint] = []
    for trace in traces:
        places = range(trace.logits.shape[1])
        calibrations = tuple(fit_calibration(trace.logits[:, e], targets, known, task, method) for e in places)
        probabilities = np.stack([calibrations[e].apply(trace.logits[:, e]) for e in places], axis=1)
        sure = np.stack([sureness(probabilities[:, e], deciding, task) for e in places], axis=1)
        losses = np.where(known[:, None], _losses(probabilities, targets, task), 0.0)
        for margins in product(*(_candidates(sure[:, e].min(axis=1)) for e in places[:-1])):
            at = _decided_at(sure, margins)
            chosen = np.take_along_axis(losses, at[:, None], axis=1)
            share = float(_spent(trace, margins, at.max(axis=1)).mean())
            facts = {"gate_threshold": trace.gate_threshold, "margins": margins, "calibrations": calibrations}
            loss = float(chosen.sum() / max(1, known.sum()))
            found.append(BudgetPoint.model_construct(share=share, log_loss=loss, **facts))
    return tuple(BudgetPoint.model_validate(dict(point)) for point in _frontier(found))


def mean_auroc(probabilities: Scores, targets: Targets, mask: Mask) -> float | None:
    """Mean over the labels that have both classes; None where none has."""
    columns = zip(targets.T, probabilities.T, mask.T, strict=True)
    values = [auroc(target[known] > 0.5, score[known]).value for target, score, known in columns]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else None


def _candidates(sure: Float[np.ndarray, " N"]) -> list[float | None]:
    """Limits that let the given shares of the images leave, and none."""
    return [None, *sorted({round(float(value), 6) for value in np.quantile(sure, 1 - np.asarray(_LEAVING))})]


def _decided_at(sure: Float[np.ndarray, "N E L"], margins: Sequence[float | None]) -> Int[np.ndarray, "N L"]:
    """The first place that is sure enough of each label; the last one where none is."""
    limits = [np.inf if margin is None else margin for margin in margins]
    enough = sure >= np.asarray([*limits, -np.inf])[:, None]
    return enough.argmax(axis=1)


def _spent(trace: Trace, margins: Sequence[float | None], left_at: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    asked = np.where([margin is None for margin in margins], 0.0, trace.exit_flops)
    until = np.concatenate([np.cumsum(asked), [asked.sum()]]) if len(asked) else np.zeros(1)
    return trace.flops[np.arange(len(left_at)), left_at] + until[left_at]


def _losses(probabilities: Float[np.ndarray, "N E L"], targets: Targets, task: Task) -> Float[np.ndarray, "N E L"]:
    y, p = targets[:, None], np.clip(probabilities, _CERTAIN, 1 - _CERTAIN)
    return -y * np.log(p) if task == "multiclass" else -(y * np.log(p) + (1 - y) * np.log1p(-p))


def _frontier(found: Sequence[Any]) -> list[Any]:
    """Those with a lower loss than all cheaper ones; the best of each step in FLOPs."""
    best: dict[int, Any] = {}
    least = np.inf
    for point in sorted(found, key=lambda one: (one.share, one.log_loss)):
        if point.log_loss < least:
            least = point.log_loss
            best[int(point.share / _STEP)] = point
    return list(best.values())
