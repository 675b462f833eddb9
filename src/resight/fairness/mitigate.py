"""Other decisions or probabilities of the same model, chosen on validation rows and judged on the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import logit

from resight.errors import PredictionsError, SettingsError
from resight.evaluation import OperatingRule, fit_calibration
from resight.evaluation.groups import Grouping, make_groupings
from resight.evaluation.recalibration import Calibration, CalibrationMethod
from resight.fairness.cases import AuditCases, audit_cases
from resight.fairness.effects import Effect, effects
from resight.fairness.options import WHOLE_TABLE, AuditOptions
from resight.fairness.thresholds import GroupThreshold, choose_thresholds, decide_by_group
from resight.predictions import Predictions
from resight.settings import plain
from resight.types import Scores

Method = Literal["equal_sensitivity", "equalised_odds", "recalibrate"]
_VALIDATION = "validation"
_LIMIT = 1e-7
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""


@dataclass(frozen=True)
class Mitigation:
    """What was done and what it changed.

    Attributes:
        method: what was made alike.
        predictions: the table with new decisions, and new probabilities where groups were recalibrated.
        thresholds: by group and label; empty where groups were recalibrated.
        calibrations: by group; empty where thresholds were chosen.
        effects: on the rows that are judged.
    """

    method: str
    predictions: Predictions
    thresholds: tuple[GroupThreshold, ...]
    calibrations: dict[str, Calibration]
    effects: tuple[Effect, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the predictions."""
        calibrations = {group: one.to_dict() for group, one in self.calibrations.items()}
        facts = {"method": self.method, "thresholds": self.thresholds, "effects": self.effects}
        return {**plain(facts), "calibrations": calibrations}


def mitigate(
    predictions: Predictions,
    method: Method,
    options: AuditOptions,
    *,
    rule: OperatingRule | None = None,
    calibration: CalibrationMethod = "platt",
) -> Mitigation:
    """Give every group its own threshold or calibration.

    Args:
        predictions: a table with validation rows, on which everything is chosen, and others, on which it is judged.
        method: equal sensitivity, equalised odds, or recalibration by group (of sites, for example).
        options: one attribute to group by, suppression, bootstrap.
        rule: of the common threshold; Youden's index when not given.
        calibration: method of the recalibration.

    Raises:
        PredictionsError: no validation rows, or no probabilities.
        SettingsError: not exactly one attribute, or thresholds for classes that exclude each other.
    """
    if len(options.by) != 1:
        raise SettingsError(f"groups by {', '.join(options.by)}", expected="one attribute, or several joined by '+'")
    if predictions.task == "multiclass" and method != "recalibrate":
        raise SettingsError(f"{method} for a multiclass task", expected="labels that are decided one by one")
    splits = set(predictions.table["split"]) if "split" in predictions.table else set()
    if _VALIDATION not in splits:
        fix = "Thresholds chosen on the rows they are judged on promise too much."
        raise PredictionsError("no validation rows to choose on", where="mitigation", fix=fix)
    validation, everything = audit_cases(predictions, _VALIDATION), audit_cases(predictions, WHOLE_TABLE)
    if validation.probabilities is None or everything.probabilities is None:
        raise PredictionsError("scores outside 0 to 1", where="mitigation", expected="probabilities")
    (of_all,) = make_groupings(everything.images, options.by, options.edges)
    of_validation = _same_groups(of_all, everything, validation)
    rule = rule or OperatingRule()
    common = _decided(predictions, everything, of_all, validation, of_validation, None, rule, options)
    if method == "recalibrate":
        calibrations = _calibrations(validation, of_validation, predictions.task, calibration)
        table = predictions.table.copy()
        table["probability"] = _recalibrated(everything.probabilities, of_all, calibrations).reshape(-1)
        after, thresholds = replace(common[0], table=common[0].table.assign(probability=table["probability"])), ()
    else:
        calibrations = {}
        after, thresholds = _decided(predictions, everything, of_all, validation, of_validation, method, rule, options)
    found = effects(common[0], after, options)
    return Mitigation(method, after, thresholds, calibrations, found)


def _same_groups(of_all: Grouping, everything: AuditCases, part: AuditCases) -> Grouping:
    """The grouping of some rows with the groups of all, so that quartiles are the same."""
    place = {name: row for row, name in enumerate(everything.images["image"])}
    return replace(of_all, index=of_all.index[[place[name] for name in part.images["image"]]])


def _decided(
    predictions: Predictions,
    everything: AuditCases,
    of_all: Grouping,
    validation: AuditCases,
    of_validation: Grouping,
    goal: Method | None,
    rule: OperatingRule,
    options: AuditOptions,
) -> tuple[Predictions, tuple[GroupThreshold, ...]]:
    """The table with decisions at thresholds by group, or at common ones where there is no goal."""
    assert validation.probabilities is not None
    assert everything.probabilities is not None
    if predictions.task == "multiclass":
        return predictions, ()
    alike = goal if goal in ("equal_sensitivity", "equalised_odds") else None
    thresholds = choose_thresholds(
        validation.probabilities,
        validation.targets,
        validation.mask,
        validation.patients,
        of_validation if alike else replace(of_validation, groups=()),
        predictions.labels,
        alike or "equal_sensitivity",
        rule=rule,
        least=options.min_events,
    )
    decisions = decide_by_group(everything.probabilities, of_all, predictions.labels, thresholds)
    table = predictions.table.assign(decision=decisions.reshape(-1), operating_point=goal or rule.title)
    return replace(predictions, table=table), thresholds


def _calibrations(
    validation: AuditCases, grouping: Grouping, task: Any, method: CalibrationMethod
) -> dict[str, Calibration]:
    """A calibration of every group on top of the probabilities; a small group gets a simpler one, or none."""
    assert validation.probabilities is not None
    logits = _logits(validation.probabilities)
    found: dict[str, Calibration] = {}
    for number, group in enumerate(grouping.groups):
        rows = grouping.members(number)
        found[group] = fit_calibration(logits[rows], validation.targets[rows], validation.mask[rows], task, method)
    return found


def _recalibrated(probabilities: Scores, grouping: Grouping, calibrations: dict[str, Calibration]) -> Scores:
    renewed = probabilities.copy()
    for number, group in enumerate(grouping.groups):
        rows = grouping.members(number)
        renewed[rows] = calibrations[group].apply(_logits(probabilities[rows]))
    return renewed


def _logits(probabilities: Scores) -> Scores:
    return logit(np.clip(probabilities, _LIMIT, 1 - _LIMIT))
