"""Outcomes give a lost calibration away, at the stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from resight.monitoring import fit_reference, monitor
from resight.monitoring.outcomes import watch_outcomes
from resight.monitoring.reference import CalibrationReference
from resight.predictions import Predictions

Arrive = Callable[..., Predictions]
CALIBRATED = {name: CalibrationReference(value=0.0, low=0.0, high=0.0) for name in ("a", "b")}


def test_false_alarms_stay_below_what_is_promised(arrive: Arrive) -> None:
    """200 streams of 300 calibrated outcomes: an alarm anywhere in more than 5 % + 3 standard errors is too many."""
    alarms = sum(
        watch_outcomes(CALIBRATED, arrive(seed, 300), alpha=0.05).alarm.case is not None for seed in range(200)
    )
    assert alarms / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_the_expected_capital_is_one(arrive: Arrive) -> None:
    """Exactly, over both outcomes of two cases: no bet can be won on a calibrated model."""
    p = np.array([[0.2, 0.2], [0.7, 0.7]])
    predictions = arrive(0, 2)
    total = 0.0
    for first in (0.0, 1.0):
        for second in (0.0, 1.0):
            y = np.array([[first, first], [second, second]])
            table = predictions.table.assign(probability=p.reshape(-1), score=p.reshape(-1), target=y.reshape(-1))
            found = watch_outcomes(CALIBRATED, Predictions(table, ("a", "b"), "multilabel"), alpha=0.05)
            chance = np.prod(np.where(y[:, 0] == 1, p[:, 0], 1 - p[:, 0]))
            total += chance * found.course[-1]
    assert total == pytest.approx(1.0)


def test_overconfidence_that_begins_is_caught_and_named(arrive: Arrive) -> None:
    reference = fit_reference(arrive(1, 400))
    quiet, loud = arrive(2, 100), arrive(3, 300, overconfident=1.0, start=100)
    found = monitor(reference, [quiet, loud])
    assert found.outcomes is not None
    assert found.outcomes.alarm.case is not None
    assert 100 < found.outcomes.alarm.case < 350
    assert all("rarer than predicted" in one for one in found.outcomes.alarm.columns)
    assert found.drifted
    assert found.to_dict()["outcomes"]["alarm"]["case"] == found.outcomes.alarm.case


def test_a_reference_that_was_off_itself_is_no_drift(arrive: Arrive) -> None:
    """Scores half a logit too high in both: what was there before does not alarm, what comes on top does."""
    reference = fit_reference(arrive(1, 500, overconfident=0.5))
    alarms = [
        monitor(reference, [arrive(seed, 200, overconfident=0.5)]).outcomes.alarm.case is not None
        for seed in range(10, 30)
    ]
    assert sum(alarms) <= 1
    assert monitor(reference, [arrive(7, 300, overconfident=1.5)]).outcomes.alarm.case is not None


def test_bets_are_taken_against_the_far_end_of_what_the_reference_allows(arrive: Arrive) -> None:
    incoming = arrive(8, 200, overconfident=0.8)
    wide = {name: CalibrationReference(value=0.0, low=-0.8, high=0.8) for name in ("a", "b")}
    assert watch_outcomes(CALIBRATED, incoming, alpha=0.01).alarm.case is not None
    assert watch_outcomes(wide, incoming, alpha=0.01).alarm.case is None


def test_outcomes_that_have_not_arrived_change_nothing(arrive: Arrive) -> None:
    incoming = arrive(4, 120, overconfident=1.5)
    whole = watch_outcomes(CALIBRATED, incoming, alpha=0.01)
    target = incoming.table["target"].to_numpy().reshape(-1, 2).copy()
    target[::2] = np.nan
    late = Predictions(incoming.table.assign(target=target.reshape(-1)), incoming.labels, incoming.task)
    half = watch_outcomes(CALIBRATED, late, alpha=0.01)
    assert len(whole.course) == 120
    assert len(half.course) == 60
    assert half.alarm.capital < whole.alarm.capital
    assert watch_outcomes(CALIBRATED, arrive(4, 120, outcomes=False), alpha=0.01) is None
    assert watch_outcomes({}, incoming, alpha=0.01) is None


def test_a_sure_mistake_is_survived(arrive: Arrive) -> None:
    incoming = arrive(5, 50)
    sure = incoming.table.assign(probability=0.0, target=1.0)
    found = watch_outcomes(CALIBRATED, Predictions(sure, incoming.labels, incoming.task), alpha=0.01)
    assert np.isfinite(found.course).all()
    assert found.alarm.case is not None
