"""Planted complementarity: the team beats both; without it the policy does no harm beyond chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resight.errors import PredictionsError, SettingsError
from resight.predictions import Predictions
from resight.teaming import POLICIES, Cases, Readings, TeamResult, build_policy, evaluate_team, label_cases


def judged(study: tuple[Predictions, Readings], name: str, **options: object) -> TeamResult:
    predictions, readings = study
    parts = [
        label_cases(readings.with_reference(predictions.part(split=s)), "Nodule", "unaided")
        for s in ("validation", "test")
    ]
    return evaluate_team(build_policy(name, **options), name, *parts, "Nodule", replicates=400)


def test_learned_deferral_raises_specificity_and_keeps_sensitivity(study) -> None:
    result = judged(study, "learned")
    for partner in ("readers", "model"):
        gains = result.differences[f"team - {partner}"]
        assert gains["specificity"].low > 0.02
        assert gains["sensitivity"].value > -0.02
    assert 0.1 < result.read_by_nobody.value < 0.9


@pytest.mark.parametrize("name", ["band", "second_reader"])
def test_both_rates_rise_above_both_alone(study, name: str) -> None:
    result = judged(study, name)
    assert all(value.low > 0 for gains in result.differences.values() for value in gains.values())


def test_workload_is_saved_without_loss(study) -> None:
    result = judged(study, "learned", goal="workload")
    assert result.readings.high < 0.9
    gains = result.differences["team - readers"]
    assert gains["sensitivity"].value > -0.03
    assert gains["specificity"].value > -0.03


@pytest.mark.parametrize("name", ["band", "learned"])
def test_the_curve_of_a_team_runs_through_what_was_chosen_and_above_both_alone(study, name: str) -> None:
    result = judged(study, name)
    alarms, found, readings = (np.asarray(axis) for axis in result.curves["team"])
    team, readers = result.rates["team"], result.rates["readers"]
    chosen = (1 - team["specificity"].value, team["sensitivity"].value, result.readings.value)
    assert np.isclose(np.stack([alarms, found, readings], axis=1), chosen).all(axis=1).any()
    x, y = result.curves["model"]
    at = (alarms > 0.02) & (alarms < 0.3)
    assert at.sum() > 5
    assert (found[at] > np.interp(alarms[at], x, y)).all()
    as_good = (found >= readers["sensitivity"].value) & (alarms <= 1 - readers["specificity"].value)
    assert readings[as_good].min() < 0.8  # work that is saved at the readers' own rates


def test_a_policy_without_freedom_has_no_curve(study) -> None:
    assert "team" not in judged(study, "second_reader").curves


def test_bands_keep_the_sensitivity_they_were_asked_for(study) -> None:
    result = judged(study, "band", rule_out_sensitivity=0.98, rule_in_specificity=0.5)
    cautious = judged(study, "band", rule_out_sensitivity=1.0, rule_in_specificity=None)
    assert result.read_by_nobody.value > cautious.read_by_nobody.value
    assert [band["action"] for band in cautious.chosen["bands"]] == ["model says negative", "people read"]


def test_bands_that_overlap_leave_ruling_out_alone(study) -> None:
    """Where few positives must be kept and few negatives left below, the upper end lies below the lower one."""
    result = judged(study, "band", rule_out_sensitivity=0.3, rule_in_specificity=0.05)
    assert [band["action"] for band in result.chosen["bands"]] == ["model says negative", "people read"]
    starts = [band["from"] for band in result.chosen["bands"]]
    assert starts == sorted(starts)


def test_a_second_reader_needs_fewer_than_two_readings(study) -> None:
    result = judged(study, "second_reader")
    assert 1 < result.readings.value < 2
    assert result.differences["team - readers"]["specificity"].low > 0
    either = judged(study, "second_reader", settle="either")
    both = judged(study, "second_reader", settle="both")
    assert either.rates["team"]["sensitivity"].value > both.rates["team"]["sensitivity"].value
    assert either.readings.value == 1


def test_a_useless_model_is_not_deferred_to(rng: np.random.Generator) -> None:
    n = 2000
    targets = (rng.random(n) < 0.3).astype(float)
    opinions = np.where(rng.random(n) < 0.95, targets, 1 - targets)
    cases = Cases(rng.random(n), np.ones(n), opinions, np.full(n, np.nan), targets, np.arange(n).astype(str))
    team = build_policy("learned").fit(cases).decide(cases)
    assert team.readings.mean() > 0.95


@pytest.mark.parametrize("name", POLICIES.names())
def test_every_policy_keeps_the_promises_of_the_base(name: str, study) -> None:
    predictions, readings = study
    cases = label_cases(readings.with_reference(predictions), "Nodule", "unaided").cases
    policy = build_policy(name).fit(cases)
    team = policy.decide(cases)
    assert team.decisions.shape == team.readings.shape == cases.targets.shape
    assert set(np.unique(team.decisions[~np.isnan(team.decisions)])) <= {0.0, 1.0}
    assert (team.readings >= 0).all()
    hidden = Cases(**{**vars(cases), "targets": np.full(len(cases), np.nan)})
    np.testing.assert_array_equal(policy.decide(hidden).decisions, team.decisions)
    assert policy.describe()


@pytest.mark.parametrize("name", ["band", "learned"])
def test_tuning_readings_of_one_kind_cannot_teach(name: str) -> None:
    one = np.ones(5)
    cases = Cases(one * 0.5, one, one, one, one, np.arange(5).astype(str))
    with pytest.raises(PredictionsError, match="5 positives among 5"):
        build_policy(name).fit(cases)


def test_tuning_on_test_patients_is_refused(study) -> None:
    predictions, readings = study
    part = label_cases(readings.with_reference(predictions), "Nodule", "unaided")
    with pytest.raises(PredictionsError, match="are in tuning and test"):
        evaluate_team(build_policy("band"), "band", part, part, "Nodule")


def test_missing_reads_are_counted_and_left_out(study) -> None:
    predictions, readings = study
    table = readings.table.copy()
    table.loc[::10, "decision"] = np.nan
    part = label_cases(Readings.from_table(table).with_reference(predictions), "Nodule", "unaided")
    assert "1200 of 12000 readings are incomplete" in part.notes[0]


def test_predictions_without_decisions_are_refused(study) -> None:
    predictions, readings = study
    bare = Predictions(predictions.table.drop(columns="decision"), predictions.labels, predictions.task)
    with pytest.raises(PredictionsError, match="no column 'model_decision'"):
        label_cases(readings.with_reference(bare), "Nodule", "unaided")


def test_a_test_part_without_positives_has_no_sensitivity(study) -> None:
    predictions, readings = study
    parts = [readings.with_reference(predictions.part(split=s)) for s in ("validation", "test")]
    negatives = Readings.from_table(parts[1].table.loc[parts[1].table["target"] == 0])
    tuning, test = label_cases(parts[0], "Nodule", "unaided"), label_cases(negatives, "Nodule", "unaided")
    result = evaluate_team(build_policy("band"), "band", tuning, test, "Nodule", replicates=50)
    assert result.rates["team"]["sensitivity"].undefined_because == "no positives"
    assert "model" not in result.curves


def test_tied_scores_are_decided_alike() -> None:
    targets = np.array([0.0, 1.0] * 50)
    cases = Cases(np.full(100, 0.5), np.zeros(100), targets, targets, targets, np.arange(100).astype(str))
    for name in POLICIES.names():
        team = build_policy(name).fit(cases).decide(cases)
        assert len(np.unique(team.readings)) <= 2


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'learned'"):
        build_policy("learnt")


def test_second_opinions_come_from_other_readers() -> None:
    table = pd.DataFrame(
        {"image": ["a", "a", "b"], "reader": ["x", "y", "x"], "decision": [1, 0, 1], "target": [1, 1, 0]}
    )
    table = table.assign(model_decision=[1, 1, 0], model_probability=[0.9, 0.9, 0.1])
    cases = label_cases(Readings.from_table(table, only_label="L"), "L", "unaided").cases
    np.testing.assert_array_equal(cases.second_opinions, [0, 1, np.nan])
