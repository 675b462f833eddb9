"""How good a prognosis is: concordance, and at each horizon ranking, error and calibration, under right censoring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm

from resight.errors import PredictionsError
from resight.evaluation.hazards import survival_of
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.resampling import patient_index
from resight.evaluation.rows import select_split
from resight.evaluation.survival import (
    Estimate,
    brier_at,
    concordance,
    dynamic_auroc,
    integrated_brier,
    kaplan_meier,
    uno_concordance,
)
from resight.predictions import Predictions
from resight.settings import plain
from resight.types import MetricValue

_GROUPS = ("low", "middle", "high")
_FEWEST_EVENTS = 5
"""With fewer the normal approximation of an interval means nothing."""
_HOW = "influence by patient"


@dataclass(frozen=True)
class HorizonResult:
    """What was foreseen for one point in time.

    Attributes:
        horizon: in the unit of the times.
        auroc: who has the event by then against who is free of it (cumulative/dynamic).
        brier: weighted for censoring.
        brier_without_model: the same of the Kaplan-Meier curve of the evaluated rows, the bar to clear.
        expected: mean predicted chance of the event by then.
        observed: Kaplan-Meier's, with Greenwood's interval.
        by_risk: the last two in thirds of the predicted chance, lowest first.
    """

    horizon: float
    auroc: MetricValue
    brier: MetricValue
    brier_without_model: float
    expected: float
    observed: MetricValue
    by_risk: tuple[tuple[float, MetricValue], ...]


@dataclass(frozen=True)
class Prognosis:
    """Everything about a prognosis.

    Attributes:
        harrell: concordance.
        uno: concordance that does not depend on how patients were censored, of events before the last horizon.
        integrated_brier: between the first and the last horizon.
        horizons: point by point.
        curves: Kaplan-Meier in thirds of risk: `time` and `survival`.
        images: rows with a prognosis.
        patients: among them.
        events: among the rows.
        notes: what was left out.
        confidence: of the intervals.
        estimate: Uno's concordance with each row's influence, for comparisons.
        owner: number of each row's patient.
    """

    harrell: MetricValue
    uno: MetricValue
    integrated_brier: MetricValue
    horizons: tuple[HorizonResult, ...]
    curves: Mapping[str, Mapping[str, Float[np.ndarray, " K"]]]
    images: int
    patients: int
    events: int
    notes: tuple[str, ...]
    confidence: float
    estimate: Estimate = field(repr=False)
    owner: Int[np.ndarray, " N"] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return {name: value for name, value in plain(self).items() if name not in ("estimate", "owner")}


def is_prognosis(predictions: Predictions) -> bool:
    """Whether a table tells of times: `time`, `event`, `horizon`."""
    return all(predictions.has(column) for column in ("time", "event", "horizon"))


def evaluate_prognosis(predictions: Predictions, options: EvaluationOptions | None = None) -> Prognosis:
    """Judge a predictions table whose labels are hazards of intervals of time.

    Args:
        predictions: with the columns `time`, `event` and `horizon`; hazards are `probability` where there, or `score`.
        options: split and confidence.

    Raises:
        PredictionsError: a column is not there, a time is negative, an event is neither 0 nor 1, or horizons differ.
    """
    options = options or EvaluationOptions()
    predictions, _, notes = select_split(predictions, options.split)
    time, event, horizons = _outcome(predictions)
    hazards = predictions.probabilities()
    use = ~np.isnan(hazards).any(axis=1) & ~np.isnan(time)
    if left := int((~use).sum()):
        notes = (*notes, f"{left} rows have no prognosis or no time and are left out")
    time, event, hazards = time[use], event[use], hazards[use]
    owner, n_patients = patient_index(predictions.groups()[use])
    survival = survival_of(hazards)
    risk = -(survival * np.diff(horizons, prepend=0.0)).sum(axis=1)  # restricted mean survival time, turned round
    uno = uno_concordance(time, event, risk, until=horizons[-1])
    briers = [brier_at(time, event, survival[:, k], end) for k, end in enumerate(horizons)]

    def value(estimate: Estimate) -> MetricValue:
        return _with_interval(estimate, owner, int(event.sum()), options.confidence)

    thirds = _thirds(risk)
    at = tuple(
        HorizonResult(
            horizon=float(end),
            auroc=value(dynamic_auroc(time, event, 1 - survival[:, k], end)),
            brier=value(briers[k]),
            brier_without_model=_without_model(time, event, float(end)),
            expected=float((1 - survival[:, k]).mean()),
            observed=_observed(time, event, float(end), options.confidence),
            by_risk=tuple(
                (
                    float((1 - survival[rows, k]).mean()),
                    _observed(time[rows], event[rows], float(end), options.confidence),
                )
                for rows in thirds
            ),
        )
        for k, end in enumerate(horizons)
    )
    curves = {name: kaplan_meier(time[rows], event[rows]) for name, rows in zip(_GROUPS, thirds, strict=True)}
    return Prognosis(
        value(concordance(time, event, risk)),
        value(uno),
        value(integrated_brier(briers, [float(end) for end in horizons])),
        at,
        {name: {"time": curve.times, "survival": curve.survival} for name, curve in curves.items()},
        images=len(time),
        patients=n_patients,
        events=int(event.sum()),
        notes=tuple(notes),
        confidence=options.confidence,
        estimate=uno,
        owner=owner,
    )


def compare_prognoses(a: Prognosis, b: Prognosis) -> tuple[MetricValue, float]:
    """Uno's concordance of the second less the first, on the same rows, with its paired interval and two-sided p.

    Raises:
        PredictionsError: the two do not speak of the same rows.
    """
    if not np.array_equal(a.owner, b.owner):
        raise PredictionsError("different rows or patients", where="comparison", expected="the same in both tables")
    both = Estimate(b.estimate.value - a.estimate.value, b.estimate.influence - a.estimate.influence)
    value = _with_interval(both, a.owner, a.events, a.confidence, bounded=False)
    error = _error(both, a.owner)
    return value, float(2 * norm.sf(abs(both.value) / error)) if error > 0 else math.nan


def _outcome(predictions: Predictions) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"], Any]:
    for column in ("time", "event", "horizon"):
        if not predictions.has(column):
            expected = "a table that `resight train` wrote of a cohort with time_column and event_column"
            raise PredictionsError(f"no column {column!r}", where="prognosis", expected=expected)
    time, event, ends = (predictions.array(column) for column in ("time", "event", "horizon"))
    if (time < 0).any():
        found = f"a time of {np.nanmin(time):g}"
        raise PredictionsError(found, where="prognosis", expected="0 or more")
    if not np.isin(event[:, 0], (0.0, 1.0)).all():
        raise PredictionsError("an event that is neither 0 nor 1", where="prognosis")
    if not (ends == ends[0]).all() or not (np.diff(ends[0]) > 0).all():
        raise PredictionsError("horizons that differ between images", where="prognosis", expected="the same, rising")
    return time[:, 0], event[:, 0] > 0, ends[0]


def _thirds(risk: Float[np.ndarray, " N"]) -> list[Int[np.ndarray, " K"]]:
    return list(np.array_split(np.argsort(risk, kind="stable"), len(_GROUPS)))


def _error(estimate: Estimate, owner: Int[np.ndarray, " N"]) -> float:
    by_patient = np.bincount(owner, weights=estimate.influence)
    count = len(by_patient)
    return math.sqrt(count / (count - 1) * float((by_patient**2).sum())) if count > 1 else math.nan


def _with_interval(
    estimate: Estimate, owner: Int[np.ndarray, " N"], events: int, confidence: float, *, bounded: bool = True
) -> MetricValue:
    n = len(owner)
    if math.isnan(estimate.value):
        return MetricValue.undefined("no pair of rows can be compared", n)
    error = _error(estimate, owner)
    if events < _FEWEST_EVENTS or math.isnan(error):
        return MetricValue(estimate.value, n=n)
    half = float(norm.isf((1 - confidence) / 2)) * error
    low, high = estimate.value - half, estimate.value + half
    if bounded:
        low, high = max(low, 0.0), min(high, 1.0)
    return MetricValue(estimate.value, low, high, n, interval=_HOW)


def _observed(
    time: Float[np.ndarray, " N"], event: Bool[np.ndarray, " N"], horizon: float, confidence: float
) -> MetricValue:
    """Kaplan-Meier's chance of the event by a horizon; not estimable beyond the last follow-up of anybody."""
    if len(time) == 0 or horizon > time.max():
        return MetricValue.undefined("nobody was followed so long", len(time))
    curve = kaplan_meier(time, event)
    place = int(np.searchsorted(curve.times, horizon, side="right"))
    survival, error = (1.0, 0.0) if place == 0 else (curve.survival[place - 1], curve.error[place - 1])
    half = float(norm.isf((1 - confidence) / 2)) * float(error)
    chance = 1.0 - float(survival)
    return MetricValue(chance, max(chance - half, 0.0), min(chance + half, 1.0), len(time), interval="Greenwood")


def _without_model(time: Float[np.ndarray, " N"], event: Bool[np.ndarray, " N"], horizon: float) -> float:
    chance = kaplan_meier(time, event).at(np.array([horizon]))
    return brier_at(time, event, np.full(len(time), float(chance[0])), horizon).value
