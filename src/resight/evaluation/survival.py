"""Time to an event under right censoring: Kaplan-Meier, concordance, time-dependent AUROC and the Brier score.

Sources: Kaplan & Meier 1958; Harrell et al. 1996, section 5.5 (concordance); Uno et al. 2011, equation 6 (concordance
that does not depend on the censoring); Uno et al. 2007 (cumulative/dynamic AUROC); Graf et al. 1999, section 4 (Brier).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Times = Float[np.ndarray, " N"]
Events = Bool[np.ndarray, " N"]

_AT_ONCE = 256
"""Rows compared with all others at a time."""
_LEAST_FREE = 1e-12


@dataclass(frozen=True)
class SurvivalCurve:
    """A step function that starts at 1 and falls at each time where an event happened.

    Attributes:
        times: where it falls, rising.
        survival: its value from that time on.
        error: Greenwood's standard error of the value.
    """

    times: Float[np.ndarray, " K"]
    survival: Float[np.ndarray, " K"]
    error: Float[np.ndarray, " K"]

    def at(self, times: Float[np.ndarray, " M"], *, before: bool = False) -> Float[np.ndarray, " M"]:
        """Its values; with `before`, those just before the times."""
        place = np.searchsorted(self.times, times, side="left" if before else "right")
        return np.concatenate([[1.0], self.survival])[place]


def kaplan_meier(time: Times, event: Events) -> SurvivalCurve:
    """Share without the event over time.

    Args:
        time: of event or censoring.
        event: whether it was the event.
    """
    moments, place = np.unique(time, return_inverse=True)
    fell = np.bincount(place, weights=event, minlength=len(moments))
    left = np.bincount(place, minlength=len(moments))
    at_risk = left[::-1].cumsum()[::-1]
    there = fell > 0
    fell, at_risk = fell[there], at_risk[there]
    survival = np.cumprod(1 - fell / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.cumsum(fell / (at_risk * (at_risk - fell)))
        error = np.where(survival > 0, survival * np.sqrt(spread), 0.0)
    return SurvivalCurve(moments[there], survival, error)


@dataclass(frozen=True)
class Estimate:
    """A number and what each row moves it by, which gives intervals, also of differences between two models.

    Attributes:
        value: NaN where it is not defined.
        influence: of each row; sums to 0. Weights for censoring count as known.
    """

    value: float
    influence: Float[np.ndarray, " N"]


def concordance(
    time: Times, event: Events, risk: Float[np.ndarray, " N"], pair_weights: Float[np.ndarray, " N"] | None = None
) -> Estimate:
    """Share of comparable pairs in which the one with the earlier event has the higher risk (Harrell); ties half.

    A pair is comparable when the earlier time is an event; of equal times, when one is an event and the other not.

    Args:
        time: of event or censoring.
        event: whether it was the event.
        risk: higher means an earlier event.
        pair_weights: of the pairs of each row with an event; all alike when not given.
    """
    own = np.ones(len(time)) if pair_weights is None else pair_weights
    won, compared = np.zeros(len(time)), np.zeros(len(time))
    first = np.flatnonzero(event & (own > 0))
    for start in range(0, len(first), _AT_ONCE):
        rows = first[start : start + _AT_ONCE]
        later = (time > time[rows, None]) | ((time == time[rows, None]) & ~event)
        right = np.where(risk < risk[rows, None], 1.0, np.where(risk == risk[rows, None], 0.5, 0.0))
        pairs = own[rows, None] * later
        for total, part in ((compared, pairs), (won, pairs * right)):
            total[rows] += part.sum(axis=1)
            total += part.sum(axis=0)
    whole = compared.sum() / 2
    if not whole:
        return _undefined(len(time))
    value = float(won.sum() / 2 / whole)
    return Estimate(value, (won - value * compared) / whole)


def uno_concordance(time: Times, event: Events, risk: Float[np.ndarray, " N"], *, until: float) -> Estimate:
    """Concordance of events before `until`, weighted by the inverse squared chance of not being censored by then."""
    free = censoring_curve(time, event).at(time, before=True)
    weights = np.where(event & (time < until) & (free > 0), 1.0 / np.maximum(free, _LEAST_FREE) ** 2, 0.0)
    return concordance(time, event, risk, weights)


def censoring_curve(time: Times, event: Events) -> SurvivalCurve:
    """Share not yet censored; of equal times, events come first, which is why it is read just before a time."""
    return kaplan_meier(time, ~event)


def dynamic_auroc(time: Times, event: Events, risk: Float[np.ndarray, " N"], horizon: float) -> Estimate:
    """AUROC of who had the event by the horizon against who is known to be free of it then."""
    free = censoring_curve(time, event).at(time, before=True)
    cases, controls = event & (time <= horizon) & (free > 0), time > horizon
    if not cases.any() or not controls.any():
        return _undefined(len(time))
    weight = np.where(cases, 1.0 / np.maximum(free, _LEAST_FREE), 0.0)
    weight /= weight.sum()
    share = controls / controls.sum()
    beaten, beating = _ahead(risk, share), 1.0 - _ahead(risk, weight)
    value = float((weight * beaten).sum())
    return Estimate(value, weight * (beaten - value) + share * (beating - value))


def brier_at(time: Times, event: Events, survival: Float[np.ndarray, " N"], horizon: float) -> Estimate:
    """Mean squared error of the predicted survival at the horizon, weighted for censoring; lower is better.

    Args:
        time: of event or censoring.
        event: whether it was the event.
        survival: predicted chance to be free of the event at the horizon.
        horizon: when.
    """
    curve = censoring_curve(time, event)
    before = np.maximum(curve.at(time, before=True), _LEAST_FREE)
    then = float(curve.at(np.array([horizon]))[0])
    if then <= 0:
        return _undefined(len(time))
    had, free = event & (time <= horizon), time > horizon
    terms = had * survival**2 / before + free * (1 - survival) ** 2 / then
    return Estimate(float(terms.mean()), (terms - terms.mean()) / len(terms))


def integrated_brier(scores: Sequence[Estimate], horizons: Sequence[float]) -> Estimate:
    """Mean of Brier scores between the first and the last horizon, by the trapezoid rule."""
    rows = len(scores[0].influence)
    if len(scores) < 2:
        return _undefined(rows)
    width = horizons[-1] - horizons[0]
    value = float(np.trapezoid([score.value for score in scores], horizons) / width)
    return Estimate(value, np.trapezoid(np.stack([score.influence for score in scores]), horizons, axis=0) / width)


def _ahead(risk: Float[np.ndarray, " N"], mass: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """For each row the mass of rows with a lower risk, and half of that with the same."""
    levels, place = np.unique(risk, return_inverse=True)
    each = np.bincount(place, weights=mass, minlength=len(levels))
    return (np.cumsum(each) - each / 2)[place]


def _undefined(rows: int) -> Estimate:
    return Estimate(float("nan"), np.full(rows, np.nan))
