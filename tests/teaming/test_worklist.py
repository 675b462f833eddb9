"""The simulation agrees with the formulas of queueing theory, and triage helps exactly where it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resight.errors import PredictionsError
from resight.predictions import Predictions
from resight.teaming import Studies, WorklistOptions, simulate_worklist, studies
from resight.teaming.queueing import mean_waits, wait_probability
from resight.teaming.worklist import serve


def drawn(sensitivity: float, specificity: float, prevalence: float = 0.2, count: int = 20_000) -> Studies:
    rng = np.random.default_rng(3)
    urgent = (rng.random(count) < prevalence).astype(float)
    flagged = np.where(urgent > 0, rng.random(count) < sensitivity, rng.random(count) > specificity).astype(float)
    return Studies("Pneumothorax", np.clip(flagged * 0.6 + rng.random(count) * 0.4, 0, 1), flagged, urgent)


def test_one_server_without_priorities_is_the_textbook_queue() -> None:
    assert wait_probability(0.8, 1.0, 1) == pytest.approx(0.8)
    assert mean_waits((0.8,), 1.0, 1)[0] == pytest.approx(0.8 / (1 - 0.8))  # M/M/1: rho / (mu - lambda)
    assert wait_probability(2.0, 1.0, 3) == pytest.approx(4 / 9)  # Erlang C for 3 servers and a load of 2


def test_priorities_only_redistribute_waiting() -> None:
    ahead, behind = mean_waits((0.3, 0.4), 1.0, 1)
    together = mean_waits((0.7,), 1.0, 1)[0]
    assert ahead < together < behind
    assert (0.3 * ahead + 0.4 * behind) / 0.7 == pytest.approx(together)  # Kleinrock's conservation law
    assert math.isnan(mean_waits((0.0, 0.5), 1.0, 1)[0])


def test_studies_are_read_by_the_next_free_reader() -> None:
    took = serve(np.array([0.0, 1.0, 2.0]), np.array([10.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0]), 1)
    np.testing.assert_array_equal(took, [10, 11, 9])  # the third goes ahead of the second
    took = serve(np.array([0.0, 1.0, 2.0]), np.array([10.0, 1.0, 1.0]), np.zeros(3), 2)
    np.testing.assert_array_equal(took, [10, 1, 1])


@pytest.mark.parametrize("readers", [1, 3])
def test_simulated_waits_agree_with_theory(readers: int) -> None:
    options = WorklistOptions(
        arrivals_per_h=6.0 * readers, readers=readers, reading_min=8, studies=6000, warm_up=1000, repetitions=30, seed=5
    )
    result = simulate_worklist(drawn(0.85, 0.9), options)
    for one in result.waiting[:2]:
        theory = result.theory_min[one.order]
        assert one.urgent_min.value == pytest.approx(theory, rel=0.05)
        assert one.urgent_min.low - 0.4 < theory < one.urgent_min.high + 0.4


def test_a_good_model_brings_urgent_reports_sooner_and_a_blind_one_does_not() -> None:
    options = WorklistOptions(studies=1500, repetitions=12, arrivals_per_h=13)
    good = simulate_worklist(drawn(0.95, 0.95), options)
    blind = simulate_worklist(drawn(0.3, 0.7), options)
    assert good.saved_min["flagged first"].low > 1
    assert good.cost_min["flagged first"].value > 0
    assert abs(blind.saved_min["flagged first"].value) < 0.5 * good.saved_min["flagged first"].value
    missed = next(one for one in good.waiting if one.order == "flagged first").missed_urgent_min
    assert missed.value > good.waiting[0].urgent_min.value  # the price of a miss


def test_reading_times_without_a_formula_claim_none() -> None:
    for kind in ("constant", "lognormal"):
        options = WorklistOptions(reading_times=kind, studies=200, repetitions=3)
        result = simulate_worklist(drawn(0.9, 0.9), options)
        assert result.theory_min == {}
        assert result.waiting[0].other_min.value > 8


def test_a_room_that_cannot_keep_up_is_refused() -> None:
    with pytest.raises(PredictionsError, match="arrive per hour for 1 readers"):
        simulate_worklist(drawn(0.9, 0.9), WorklistOptions(readers=1, arrivals_per_h=20))


def test_studies_of_one_kind_are_refused() -> None:
    same = Studies("x", np.ones(5), np.ones(5), np.ones(5))
    with pytest.raises(PredictionsError, match="5 of 5 studies are urgent"):
        simulate_worklist(same, WorklistOptions())


def test_a_label_must_be_named_where_there_are_several(study) -> None:
    predictions: Predictions = study[0]
    assert studies(predictions).label == "Nodule"
    with pytest.raises(PredictionsError, match="Did you mean 'Nodule'"):
        studies(predictions, "Nodul")
    two = Predictions(predictions.table, ("Nodule", "Mass"), "multilabel")
    with pytest.raises(PredictionsError, match="--label"):
        studies(two)
