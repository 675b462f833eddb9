"""The federated audit: pooled figures from sums of counts, each site's own, the worst site, and how sites differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.errors import TrainingError
from resight.evaluation import (
    Calibration,
    Evaluation,
    EvaluationOptions,
    LabelCalibration,
    OperatingPoint,
    OperatingRule,
    choose_operating_points,
    evaluate,
    fit_calibration,
)
from resight.federated.coordinator import Coordinator
from resight.federated.counts import LEVELS, Counts, as_predictions, group_titles, spread_out, tied_share
from resight.federated.messages import Message
from resight.federated.secure_round import secure_sum
from resight.federated.site_audit import SHARED
from resight.settings import plain

VALIDATION_ROUND, TEST_ROUND, REPORT_ROUND = 10**6, 10**6 + 1, 10**6 + 2
"""Numbers above every round of training, so that sites look up the weights they kept last."""
_EDGE = 1e-6
"""Rounded probabilities are kept this far from 0 and 1 when they become logits again."""


@dataclass(frozen=True)
class Pooled:
    """Figures over all sites' images of one group and label; they follow from sums alone.

    Attributes:
        group: everyone, or `attribute = value`.
        label: the label.
        evaluation: as of any predictions table; each image counts as a patient.
        auroc_rounding: AUROC may be off by so much, as scores were rounded; NaN where it is not defined.
    """

    group: str
    label: str
    evaluation: Evaluation
    auroc_rounding: float


@dataclass(frozen=True)
class Audit:
    """What sites found together.

    Attributes:
        pooled: by group and label.
        sites: what each site reported of itself.
        worst: label -> site with the lowest AUROC under the shared thresholds, and that AUROC as it came.
        calibration: fitted on the summed validation counts; None where it cannot be (multiclass).
        points: the shared thresholds.
        missing: sites that did not answer.
    """

    pooled: tuple[Pooled, ...]
    sites: Mapping[str, Mapping[str, Any]]
    worst: Mapping[str, Mapping[str, Any]]
    calibration: Calibration | None
    points: tuple[OperatingPoint, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        calibration = None if self.calibration is None else self.calibration.model_dump(mode="json")
        return {
            "pooled": [
                {"group": p.group, "label": p.label, "auroc_rounding": plain(p.auroc_rounding)}
                | {"counts": plain(p.evaluation.labels[0].counts), "metrics": plain(p.evaluation.labels[0].metrics)}
                for p in self.pooled
            ],
            "sites": plain(self.sites),
            "worst": plain(self.worst),
            "calibration": calibration,
            "points": [point.to_dict() for point in self.points],
            "missing": list(self.missing),
        }


def run_audit(coordinator: Coordinator) -> Audit:
    """Count validation and test images at all sites that are there, and ask each for its own figures.

    Args:
        coordinator: after training.

    Raises:
        TrainingError: too few sites for a secure sum, or nobody has labelled validation images.
    """
    settings, labels = coordinator.settings, coordinator.task.labels
    names = coordinator.gather()
    validation = _counted(coordinator, names, "validation", VALIDATION_ROUND, None)
    calibration = None
    if coordinator.task.task != "multiclass":
        calibration = _fit(validation, labels)
    shown = _recalibrated(validation, calibration)
    rule = OperatingRule(kind="sensitivity", value=settings.federation.audit.sensitivity, name=SHARED)
    points = choose_points(shown, labels, rule)
    test = _counted(coordinator, names, "test", TEST_ROUND, calibration)
    facts = {
        "calibration": None if calibration is None else calibration.model_dump(mode="json"),
        "points": [point.to_dict() for point in points],
    }
    request = Message("report", REPORT_ROUND, facts, {"everyone": test})
    replies = coordinator.transport.ask(dict.fromkeys(names, request), settings.federation.timeout_s)
    sites = {name: reply.facts for name, reply in sorted(replies.items()) if reply.kind == "report"}
    titles = group_titles(settings.federation.audit.groups)
    options = settings.evaluation.model_copy(update={"baselines": False, "split": None})
    pooled = tuple(
        pooled_figures(test[group, column], title, label, points, options)
        for group, title in enumerate(titles)
        for column, label in enumerate(labels)
        if test[group, column].any()
    )
    worst = {label: found for label in labels if (found := _worst(sites, label))}
    missing = tuple(name for name in names if name not in sites)
    return Audit(pooled, sites, worst, calibration, points, missing)


def pooled_figures(
    counts: np.ndarray[Any, Any],
    group: str,
    label: str,
    points: tuple[OperatingPoint, ...],
    options: EvaluationOptions,
) -> Pooled:
    """Every figure of one group and label, from its counts `(2, levels)`."""
    chosen = tuple(point for point in points if point.label == label)
    found = evaluate(as_predictions(counts, label), options, operating_points=chosen)
    return Pooled(group, label, found, tied_share(counts) / 2)


def choose_points(counts: Counts, labels: tuple[str, ...], rule: OperatingRule) -> tuple[OperatingPoint, ...]:
    """Thresholds from counts of validation images, label by label."""
    points: list[OperatingPoint] = []
    for column, label in enumerate(labels):
        rows = spread_out(counts[0, column])
        known = np.ones((len(rows.targets), 1), dtype=bool)
        points += choose_operating_points(rows.probabilities[:, None], rows.targets[:, None], known, (label,), (rule,))
    return tuple(points)


def _counted(
    coordinator: Coordinator, names: list[str], split: str, number: int, calibration: Calibration | None
) -> Counts:
    """The sum of all sites' counts; the server sees those of single sites only without secure aggregation."""
    federation = coordinator.settings.federation
    groups = 1 + sum(len(values) for values in federation.audit.groups.values())
    shape = (groups, len(coordinator.task.labels), 2, LEVELS)
    facts = {"split": split, "calibration": None if calibration is None else calibration.model_dump(mode="json")}
    request = Message("count", number, facts | coordinator.agreed, coordinator.shared)
    replies = coordinator.transport.ask(dict.fromkeys(names, request), federation.timeout_s)
    given = {name: reply for name, reply in sorted(replies.items()) if reply.kind == "count"}
    if len(given) < federation.min_sites:
        reasons = [str(r.facts.get("reason", "")) for r in replies.values() if r.kind == "refused"]
        where = reasons[0] if reasons else f"counting {split} images"
        raise TrainingError(f"{len(given)} sites answered", where=where, expected=f"at least {federation.min_sites}")
    if federation.privacy.secure_aggregation:
        found = secure_sum(
            coordinator.transport,
            given,
            {"counts": shape},
            dict.fromkeys(given, 1.0),
            threshold=federation.privacy.threshold,
            timeout_s=federation.timeout_s,
        )
        return np.rint(found.total["counts"]).astype(np.int64)
    total = np.zeros(shape, np.int64)
    for name, reply in given.items():
        counts = reply.arrays.get("counts")
        if counts is None or counts.shape != shape or counts.dtype != np.int64 or counts.min() < 0:
            raise TrainingError(f"the counts of {name!r} are no counts", where=f"counting {split} images")
        total += counts
    return total


def _fit(counts: Counts, labels: tuple[str, ...]) -> Calibration:
    """Platt's scaling on summed counts; what rounding does to a logit is far below what calibration corrects."""
    fitted: list[LabelCalibration] = []
    for column in range(len(labels)):
        rows = spread_out(counts[0, column])
        p = rows.probabilities.clip(_EDGE, 1 - _EDGE)
        z, y = np.log(p / (1 - p))[:, None], rows.targets[:, None]
        fitted += fit_calibration(z, y, np.ones(z.shape, dtype=bool), "binary", "platt").labels
    return Calibration(task="binary" if len(labels) == 1 else "multilabel", labels=tuple(fitted))


def _recalibrated(counts: Counts, calibration: Calibration | None) -> Counts:
    """Counts as they would be had the scores been calibrated before rounding, up to another rounding."""
    if calibration is None:
        return counts
    p = (np.arange(LEVELS) / (LEVELS - 1)).clip(_EDGE, 1 - _EDGE)
    z = np.log(p / (1 - p))
    places = np.rint(calibration.apply(np.tile(z[:, None], (1, counts.shape[1]))) * (LEVELS - 1)).astype(np.int64)
    moved = np.zeros_like(counts)
    for label in range(counts.shape[1]):
        for group in range(len(counts)):
            for state in range(2):
                np.add.at(moved[group, label, state], places[:, label], counts[group, label, state])
    return moved


def _worst(sites: Mapping[str, Mapping[str, Any]], label: str) -> dict[str, Any]:
    found: list[tuple[float, str, Any]] = []
    for name, facts in sites.items():
        value = facts[SHARED].get(label, {}).get("metrics", {}).get("auroc")
        if value and value["value"] is not None and not math.isnan(value["value"]):
            found.append((float(value["value"]), name, value))
    if not found:
        return {}
    _, name, value = min(found)
    return {"site": name, "auroc": value}
