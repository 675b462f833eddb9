"""Incoming predictions against the reference: as a whole, case after case, and calibration when outcomes arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import Field
from scipy.stats import norm

from resight.errors import PredictionsError
from resight.evaluation.options import Share
from resight.monitoring.columns import aligned, first_images, is_feature, watched
from resight.monitoring.drift import ColumnDrift, column_drifts, corrected, undefined_drift
from resight.monitoring.outcomes import OutcomeWatch, watch_outcomes
from resight.monitoring.reference import CalibrationReference, Reference, calibration_of
from resight.monitoring.sequential import Alarm, watch
from resight.predictions import Predictions
from resight.settings import Options, plain

ALARM_EXIT = 10
"""What a command ends with that found drift."""
_Z95 = float(norm.isf(0.025))


class MonitorOptions(Options):
    """How sure an alarm must be, and of how many cases."""

    alpha: Share = Field(
        default=0.01, description="chance of a false alarm of each watch, and of one look at the whole"
    )
    min_cases: int = Field(default=20, ge=5, description="fewer known values of a column are not tested")
    seed: int = Field(default=0, ge=0, description="of permutations and of draws that break ties")


@dataclass(frozen=True)
class Watch:
    """What monitoring found.

    Attributes:
        cases: incoming patients, each with the first image.
        images: incoming images.
        failed: images without a score.
        alarm: of the watch case after case.
        outcomes: of the watch outcome after outcome; None where no outcome has arrived or the reference has none.
        drifts: of every column as a whole, and of calibration.
        course: capital of the watch after each case; over `alarm.limit` is an alarm.
        notes: what was left out or assumed.
        alpha: level asked for.
    """

    cases: int
    images: int
    failed: int
    alarm: Alarm
    drifts: tuple[ColumnDrift, ...]
    course: tuple[float, ...]
    notes: tuple[str, ...]
    alpha: float
    outcomes: OutcomeWatch | None = None

    @property
    def drifted(self) -> bool:
        """Whether anything speaks: a watch, a column, or calibration."""
        alarms = [self.alarm, *([] if self.outcomes is None else [self.outcomes.alarm])]
        return any(alarm.case is not None for alarm in alarms) or any(one.drifted for one in self.drifts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the alert file."""
        return {**plain(self), "drifted": self.drifted}


def monitor(reference: Reference, incoming: Sequence[Predictions], options: MonitorOptions | None = None) -> Watch:
    """Compare incoming predictions with a reference.

    The watches go through cases and outcomes in the order of the tables and are valid however often and for however
    long one looks. The tests of the whole are valid for one look. A change of the case mix is drift as well.

    Args:
        reference: of the bundle, or of a predictions table.
        incoming: predictions tables in the order they arrived, with the labels of the reference.
        options: level, suppression and seed.

    Raises:
        PredictionsError: no table, or the labels of one are not the reference's.
    """
    options = options or MonitorOptions()
    together = _joined(reference, incoming)
    notes: list[str] = []
    if "patient_id" not in together.table.columns:
        notes.append(
            "No patients given: every image counts as a patient, so a patient with many images may look like drift"
        )
    scored = ~pd.isna(together.array("score")).any(axis=1)
    failed = int((~scored).sum())
    single = first_images(together)
    before = reference.table()
    now = aligned(watched(single), reference.numbers, reference.categories)
    absent = [str(name) for name in before if name not in now]
    if features := [name for name in absent if is_feature(name)]:
        notes.append("Features of the network: not in the incoming table; they are after `resight predict --novelty`")
        before = before.drop(columns=features)
    notes += [f"{name}: not in the incoming table" for name in absent if name not in features]
    drifts = [
        *column_drifts(before, now, min_cases=options.min_cases, seed=options.seed),
        *_calibration(reference, together, options.min_cases),
    ]
    alarm, course = watch(before, now, alpha=options.alpha, seed=options.seed)
    return Watch(
        cases=len(single),
        images=len(together),
        failed=failed,
        alarm=alarm,
        drifts=corrected(drifts, options.alpha),
        course=tuple(float(value) for value in course),
        notes=tuple(notes),
        alpha=options.alpha,
        outcomes=watch_outcomes(reference.calibration, single, alpha=options.alpha),
    )


def _joined(reference: Reference, incoming: Sequence[Predictions]) -> Predictions:
    if not incoming:
        raise PredictionsError("no incoming predictions")
    for predictions in incoming:
        if set(predictions.labels) != set(reference.labels):
            found = f"labels {', '.join(predictions.labels)}"
            raise PredictionsError(found, where="incoming predictions", expected=", ".join(reference.labels))
    table = pd.concat([predictions.table for predictions in incoming], ignore_index=True)
    order = pd.Categorical(table["label"], categories=list(reference.labels)).codes
    image = pd.factorize(pd.Series(list(_numbered(incoming))))[0]
    table = table.assign(_image=image, _label=order).sort_values(["_image", "_label"], kind="stable")
    table = table.drop(columns=["_image", "_label"]).reset_index(drop=True)
    return Predictions(table, reference.labels, incoming[0].task)


def _numbered(incoming: Sequence[Predictions]) -> Iterator[str]:
    """A name for the image of every row; equal names in two tables are two images."""
    for number, predictions in enumerate(incoming):
        yield from (f"{number}/{name}" for name in predictions.table["image"])


def _calibration(reference: Reference, incoming: Predictions, min_cases: int) -> Iterator[ColumnDrift]:
    """Difference of calibration-in-the-large, where outcomes have arrived."""
    if not incoming.has("target"):
        return
    now = calibration_of(incoming)
    known = incoming.mask()
    for column, label in enumerate(reference.labels):
        name, cases = f"calibration of {label}", int(known[:, column].sum())
        before = reference.calibration.get(label)
        if before is None:
            yield undefined_drift(name, "calibration", "the reference has no calibration of it", cases)
        elif label not in now or cases < min_cases:
            yield undefined_drift(name, "calibration", f"{cases} outcomes, or one class only", cases)
        else:
            difference = now[label].value - before.value
            error = math.hypot(_error(now[label]), _error(before))
            p = 2 * float(norm.sf(abs(difference) / error)) if error else math.nan
            yield ColumnDrift(name, "calibration", "difference of intercepts", difference, math.nan, p, math.nan, cases)


def _error(value: CalibrationReference) -> float:
    return (value.high - value.low) / (2 * _Z95)
