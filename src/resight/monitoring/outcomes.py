"""Calibration watched outcome after outcome, with a stated chance of ever raising a false alarm.

Likelihood ratios of a probability that is off by so many logits against one that is not are bets nobody can win on a
calibrated model: their product is a capital that by Ville's inequality reaches `1 / alpha` with a chance of at most
alpha (Ramdas et al., Statistical Science 2023, section 2). That the reference itself was off, within what it could
tell, is no drift: the bets are taken against the far end of its interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit
from scipy.stats import norm

from resight.monitoring.reference import CalibrationReference
from resight.monitoring.sequential import Alarm, alarm_of, spread_anew
from resight.predictions import Predictions

_OFF = np.array([0.0, 0.25, 0.5, 1.0, 2.0])
"""Bets: by how many logits outcomes are commoner, or rarer, than the reference allows; 0 keeps the capital."""
_WIDER = float(norm.isf(0.005) / norm.isf(0.025))
"""From the 95 % interval that a reference keeps to 99 %."""
_LIMIT = 1e-6
"""Probabilities are kept this far from 0 and 1: one sure mistake must not bankrupt every bet."""


@dataclass(frozen=True)
class OutcomeWatch:
    """What outcomes said, in the order they stand in the tables.

    Attributes:
        alarm: when the average capital of all labels first reached its limit.
        course: that capital after each patient with an outcome.
    """

    alarm: Alarm
    course: tuple[float, ...]


def watch_outcomes(
    before: Mapping[str, CalibrationReference], incoming: Predictions, *, alpha: float
) -> OutcomeWatch | None:
    """Bet against calibration as it was when the reference was made.

    Args:
        before: calibration-in-the-large by label.
        incoming: one image a patient, with targets where an outcome has arrived.
        alpha: chance of ever raising a false alarm, if the reference's interval holds.

    Returns:
        None where no label has both a reference and an outcome.
    """
    if not incoming.has("target"):
        return None
    targets, known, probabilities = incoming.targets(), incoming.mask(), incoming.probabilities()
    known &= np.isin(targets, (0.0, 1.0)) & (probabilities >= 0) & (probabilities <= 1)
    names: list[str] = []
    capitals: list[Float[np.ndarray, " n"]] = []
    arrived = known.any(axis=1)
    for column, label in enumerate(incoming.labels):
        if label not in before or not known[:, column].any():
            continue
        y = np.where(known[:, column], targets[:, column], np.nan)[arrived]
        for side, words in ((1, "commoner"), (-1, "rarer")):
            names.append(f"{label} {words} than predicted")
            capitals.append(_capital(y, probabilities[arrived, column], before[label], side))
    if not names:
        return None
    alarm, course = alarm_of(np.stack(capitals), names, alpha)
    return OutcomeWatch(alarm, tuple(float(value) for value in course))


def _capital(
    y: Float[np.ndarray, " n"], p: Float[np.ndarray, " n"], before: CalibrationReference, side: int
) -> Float[np.ndarray, " n"]:
    """Capital after each patient; an outcome that has not arrived changes nothing."""
    half = _WIDER * (before.high - before.low) / 2
    start = logit(np.clip(p, _LIMIT, 1 - _LIMIT)) + before.value + side * half
    usual, other = expit(start), expit(start[:, None] + side * _OFF)
    ratio = np.where(y[:, None] > 0.5, other / usual[:, None], (1 - other) / (1 - usual[:, None]))
    ratio = np.where(np.isnan(y)[:, None], 1.0, ratio)
    stakes = np.full(len(_OFF), 1 / len(_OFF))
    capital = np.empty(len(y))
    for place in range(len(y)):
        stakes = spread_anew(stakes) * ratio[place]
        capital[place] = stakes.sum()
    return capital
