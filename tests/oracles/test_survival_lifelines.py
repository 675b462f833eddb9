"""Times to an event against lifelines, and against the formulas of the papers written out as loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.utils import concordance_index

from resight.evaluation.survival import (
    brier_at,
    censoring_curve,
    concordance,
    dynamic_auroc,
    kaplan_meier,
    uno_concordance,
)

HORIZON = 6.0


@pytest.fixture(params=[False, True], ids=["no ties", "ties"])
def data(request: pytest.FixtureRequest, rng: np.random.Generator):
    count = 150
    risk = rng.normal(size=count)
    died, left = rng.exponential(8 * np.exp(-risk)), rng.uniform(1, 15, count)
    time, event = np.minimum(died, left), died <= left
    if request.param:
        time, risk = np.ceil(time), np.round(risk, 1)
    return time, event, risk


def test_kaplan_meier_and_greenwood(data) -> None:
    time, event, _ = data
    fitted = KaplanMeierFitter().fit(time, event)
    curve = kaplan_meier(time, event)
    theirs = fitted.survival_function_at_times(curve.times).to_numpy()
    np.testing.assert_allclose(curve.survival, theirs, atol=1e-12)
    np.testing.assert_allclose(curve.at(np.array([HORIZON])), fitted.predict(HORIZON))
    # Greenwood's sum, from lifelines' table of events
    table = fitted.event_table
    fell, at_risk = table["observed"], table["at_risk"]
    spread = (fell / (at_risk * (at_risk - fell))).cumsum().reindex(curve.times).to_numpy()
    inside = curve.survival > 0
    np.testing.assert_allclose(curve.error[inside], (curve.survival * np.sqrt(spread))[inside], rtol=1e-9)


def test_harrell(data) -> None:
    time, event, risk = data
    assert concordance(time, event, risk).value == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)


def test_harrell_of_a_cox_model(data) -> None:
    time, event, risk = data
    table = pd.DataFrame({"time": time, "event": event, "risk": risk})
    fitted = CoxPHFitter().fit(table, "time", "event")
    ours = concordance(time, event, fitted.predict_partial_hazard(table).to_numpy()).value
    assert ours == pytest.approx(fitted.concordance_index_, abs=1e-12)


def _free(time, event, at: float) -> float:
    """Chance of not being censored before `at`, from lifelines."""
    censored = KaplanMeierFitter().fit(time, ~event)
    return float(censored.predict(at - 1e-9))


def test_uno_is_the_weighted_count_of_pairs(data) -> None:
    time, event, risk = data
    won = compared = 0.0
    for i in np.flatnonzero(event & (time < HORIZON)):
        weight = _free(time, event, time[i]) ** -2
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                compared += weight
                won += weight * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    assert uno_concordance(time, event, risk, until=HORIZON).value == pytest.approx(won / compared, abs=1e-9)


def test_dynamic_auroc_is_the_weighted_count_of_cases_and_controls(data) -> None:
    time, event, risk = data
    cases, controls = np.flatnonzero(event & (time <= HORIZON)), np.flatnonzero(time > HORIZON)
    weights = np.array([1 / _free(time, event, time[i]) for i in cases])
    ahead = risk[cases, None] > risk[controls]
    ties = risk[cases, None] == risk[controls]
    expected = ((ahead + 0.5 * ties).mean(axis=1) * weights).sum() / weights.sum()
    assert dynamic_auroc(time, event, risk, HORIZON).value == pytest.approx(expected, abs=1e-9)


def test_brier_is_the_weighted_squared_error(data) -> None:
    time, event, risk = data
    survival = np.exp(-HORIZON / 8 * np.exp(risk))
    then = float(KaplanMeierFitter().fit(time, ~event).predict(HORIZON))
    terms = []
    for i in range(len(time)):
        if event[i] and time[i] <= HORIZON:
            terms.append(survival[i] ** 2 / _free(time, event, time[i]))
        else:
            terms.append((1 - survival[i]) ** 2 / then if time[i] > HORIZON else 0.0)
    assert brier_at(time, event, survival, HORIZON).value == pytest.approx(np.mean(terms), abs=1e-9)
    assert censoring_curve(time, event).at(np.array([HORIZON]))[0] == pytest.approx(then)


def test_without_censoring_everything_is_what_it_is_without_times(rng: np.random.Generator) -> None:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    risk = rng.normal(size=200)
    time, event = rng.exponential(np.exp(-risk)), np.ones(200, dtype=bool)
    chance = 1 / (1 + np.exp(-risk))
    had = time <= 1.0
    assert dynamic_auroc(time, event, risk, 1.0).value == pytest.approx(roc_auc_score(had, risk))
    assert brier_at(time, event, 1 - chance, 1.0).value == pytest.approx(brier_score_loss(had, chance))
