"""A reading room simulated: does sorting the worklist by the model's answer bring urgent reports sooner?

Studies arrive at random, wait in one list, and are read by the next free reader; a reading is not interrupted. With
`first come` they are read in the order of arrival, with `flagged first` those the model calls positive go ahead, with
`by probability` the likeliest of those waiting is next. Where formulas exist (`resight.teaming.queueing`) the
simulation is tested against them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from scipy.stats import t

from resight.errors import PredictionsError, nearest
from resight.predictions import Predictions
from resight.settings import Options, plain
from resight.teaming.queueing import mean_waits
from resight.types import MetricValue

Order = Literal["first come", "flagged first", "by probability"]
ORDERS: tuple[Order, ...] = ("first come", "flagged first", "by probability")


class WorklistOptions(Options):
    """A reading room."""

    arrivals_per_h: float = Field(default=12.0, gt=0, description="studies that arrive per hour")
    readers: int = Field(default=2, ge=1, le=200, description="people who read at the same time")
    reading_min: float = Field(default=8.0, gt=0, description="mean minutes a reading takes")
    reading_times: Literal["exponential", "lognormal", "constant"] = Field(
        default="exponential",
        description="how they are spread; lognormal: a standard deviation of half the mean",
    )
    studies: int = Field(default=2000, ge=100, le=1_000_000, description="studies counted in each repetition")
    warm_up: int = Field(default=200, ge=0, description="first studies that are read and not counted")
    repetitions: int = Field(default=20, ge=2, le=1000, description="independent days simulated")
    prevalence: float | None = Field(
        default=None, gt=0, lt=1, description="share of urgent studies; that of the predictions when not given"
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Waiting:
    """How long reports take in one order of reading.

    Attributes:
        order: how the worklist was sorted.
        urgent_min: mean minutes from arrival to the end of reading, urgent studies.
        urgent_p90_min: 90th percentile of the same.
        other_min: mean of all other studies.
        missed_urgent_min: mean of the urgent studies that the model does not flag.
    """

    order: Order
    urgent_min: MetricValue
    urgent_p90_min: MetricValue
    other_min: MetricValue
    missed_urgent_min: MetricValue


@dataclass(frozen=True)
class WorklistResult:
    """All orders, on the same arrivals and reading times.

    Attributes:
        waiting: one an order.
        saved_min: mean minutes that urgent reports come sooner than with `first come`, on the same days.
        cost_min: mean minutes that other reports come later.
        utilisation: share of their time that readers read.
        theory_min: mean minutes of urgent studies by formula, where one exists (exponential reading times).
    """

    waiting: tuple[Waiting, ...]
    saved_min: Mapping[str, MetricValue]
    cost_min: Mapping[str, MetricValue]
    utilisation: float
    theory_min: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain(self)


@dataclass(frozen=True)
class Studies:
    """What a simulation draws from.

    Attributes:
        label: the finding that makes a study urgent.
        probabilities: `(N,)` of the model that it is there.
        flagged: `(N,)` 0 or 1 by the model at its operating point.
        urgent: `(N,)` 0 or 1 by the reference standard.
    """

    label: str
    probabilities: Float[np.ndarray, " N"]
    flagged: Float[np.ndarray, " N"]
    urgent: Float[np.ndarray, " N"]


def simulate_worklist(studies: Studies, options: WorklistOptions) -> WorklistResult:
    """Read studies drawn from judged predictions in every order.

    Args:
        studies: with the model's answers.
        options: the reading room.

    Raises:
        PredictionsError: no urgent or no other study, or more work arrives than the readers can do.
    """
    load = options.arrivals_per_h * options.reading_min / 60
    if load >= options.readers:
        found = f"{load:.1f} hours of reading arrive per hour for {options.readers} readers"
        raise PredictionsError(found, where="worklist", fix="Give more readers, fewer arrivals or shorter readings.")
    urgent = studies.urgent
    if not 0 < urgent.sum() < len(urgent):
        found = f"{int(urgent.sum())} of {len(urgent)} studies are urgent"
        raise PredictionsError(found, where="worklist", expected="urgent and other studies")
    days = [_day(studies, options, number) for number in range(options.repetitions)]
    kinds = ("urgent", "p90", "other", "missed")
    every = {order: {kind: np.array([day[order][kind] for day in days]) for kind in kinds} for order in ORDERS}
    first = every["first come"]
    return WorklistResult(
        waiting=tuple(
            Waiting(order, *(_mean(every[order][kind]) for kind in kinds))  # the fields stand in the order of kinds
            for order in ORDERS
        ),
        saved_min={order: _mean(first["urgent"] - every[order]["urgent"]) for order in ORDERS[1:]},
        cost_min={order: _mean(every[order]["other"] - first["other"]) for order in ORDERS[1:]},
        utilisation=load / options.readers,
        theory_min=_theory(studies, options),
    )


def studies(predictions: Predictions, label: str | None = None) -> Studies:
    """The images of a predictions table that have probability, decision and target.

    Args:
        predictions: with decisions and targets.
        label: the finding that makes a study urgent; the only one where not given.

    Raises:
        PredictionsError: several labels and none named, an unknown one, or no image that is complete.
    """
    several = len(predictions.labels) > 1
    if label is None and several:
        found = f"{len(predictions.labels)} labels"
        raise PredictionsError(found, where="worklist", fix="Name the one that makes a study urgent with --label.")
    name = label or predictions.labels[0]
    if name not in predictions.labels:
        raise PredictionsError(f"no label {name!r}", where="worklist", fix=nearest(name, predictions.labels))
    at = predictions.labels.index(name)
    columns = [predictions.probabilities()[:, at], predictions.array("decision")[:, at], predictions.targets()[:, at]]
    complete = ~np.isnan(np.stack(columns)).any(axis=0) & np.isin(columns[2], [0.0, 1.0])
    if not complete.any():
        raise PredictionsError("no image with probability, decision and target", where=f"label {name!r}")
    probability, flagged, urgent = (column[complete] for column in columns)
    return Studies(name, probability, flagged, urgent)


def serve(
    arrivals: Float[np.ndarray, " S"], minutes: Float[np.ndarray, " S"], keys: Float[np.ndarray, " S"], readers: int
) -> Float[np.ndarray, " S"]:
    """Minutes from arrival to the end of reading of every study.

    Args:
        arrivals: rising times.
        minutes: that each reading takes.
        keys: of those waiting the lowest is read next; equal keys in the order of arrival.
        readers: how many read at the same time.
    """
    free = [0.0] * readers
    waiting: list[tuple[float, int]] = []
    done = np.empty(len(arrivals))
    coming, now = 0, 0.0
    for _ in range(len(arrivals)):
        now = max(now, free[0])
        if not waiting:
            now = max(now, float(arrivals[coming]))
        while coming < len(arrivals) and arrivals[coming] <= now:
            heapq.heappush(waiting, (float(keys[coming]), coming))
            coming += 1
        _, study = heapq.heappop(waiting)
        end = now + float(minutes[study])
        heapq.heapreplace(free, end)
        done[study] = end
    return done - arrivals


def _day(studies: Studies, options: WorklistOptions, number: int) -> dict[Order, dict[str, float]]:
    urgent = studies.urgent
    rng = np.random.default_rng((options.seed, number))
    total = options.warm_up + options.studies
    drawn = _draw(rng, urgent, options.prevalence, total)
    arrivals = np.cumsum(rng.exponential(60 / options.arrivals_per_h, total))
    minutes = _minutes(rng, options, total)
    is_urgent, is_flagged = urgent[drawn] > 0, studies.flagged[drawn] > 0
    keys: dict[Order, np.ndarray] = {
        "first come": np.zeros(total),
        "flagged first": 1.0 - is_flagged,
        "by probability": -studies.probabilities[drawn],
    }
    counted = np.arange(total) >= options.warm_up
    result: dict[Order, dict[str, float]] = {}
    for order, key in keys.items():
        took = serve(arrivals, minutes, key, options.readers)
        of_urgent = took[counted & is_urgent]
        missed = took[counted & is_urgent & ~is_flagged]
        result[order] = {
            "urgent": float(of_urgent.mean()) if len(of_urgent) else math.nan,
            "p90": float(np.quantile(of_urgent, 0.9)) if len(of_urgent) else math.nan,
            "other": float(took[counted & ~is_urgent].mean()),
            "missed": float(missed.mean()) if len(missed) else math.nan,
        }
    return result


def _draw(
    rng: np.random.Generator, urgent: Float[np.ndarray, " N"], prevalence: float | None, total: int
) -> np.ndarray[Any, Any]:
    if prevalence is None:
        return rng.integers(len(urgent), size=total)
    yes, no = np.flatnonzero(urgent > 0), np.flatnonzero(urgent == 0)
    is_urgent = rng.random(total) < prevalence
    return np.where(is_urgent, rng.choice(yes, total), rng.choice(no, total))


def _minutes(rng: np.random.Generator, options: WorklistOptions, total: int) -> Float[np.ndarray, " S"]:
    mean = options.reading_min
    if options.reading_times == "constant":
        return np.full(total, mean)
    if options.reading_times == "exponential":
        return rng.exponential(mean, total)
    variance = math.log(1 + 0.5**2)  # of the logarithm, for a standard deviation of half the mean
    return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), total)


def _mean(values: Float[np.ndarray, " R"]) -> MetricValue:
    """Mean over days with Student's interval; days without such a study do not count."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return MetricValue.undefined("no such study on any day")
    if len(known) == 1:
        return MetricValue(float(known[0]), n=1)
    half = float(t.isf(0.025, len(known) - 1)) * float(known.std(ddof=1)) / math.sqrt(len(known))
    mean = float(known.mean())
    return MetricValue(mean, mean - half, mean + half, len(known), interval="Student over repetitions")


def _theory(studies: Studies, options: WorklistOptions) -> dict[str, float]:
    if options.reading_times != "exponential":
        return {}
    flagged, urgent = studies.flagged, studies.urgent
    per_min, service = options.arrivals_per_h / 60, 1 / options.reading_min
    sensitivity = float(flagged[urgent > 0].mean())
    share_urgent = options.prevalence or float(urgent.mean())
    share_flagged = share_urgent * sensitivity + (1 - share_urgent) * float(flagged[urgent == 0].mean())
    first_come, *_ = mean_waits((per_min,), service, options.readers)
    ahead, behind = mean_waits((per_min * share_flagged, per_min * (1 - share_flagged)), service, options.readers)
    waits = [(sensitivity, ahead), (1 - sensitivity, behind)]
    flagged_first = sum(share * wait for share, wait in waits if share > 0)
    return {"first come": first_come + options.reading_min, "flagged first": flagged_first + options.reading_min}
