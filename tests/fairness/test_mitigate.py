"""Thresholds and calibration by group: gaps that were planted shrink by half or more, and what that costs is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from resight.errors import PredictionsError, SettingsError
from resight.fairness import AuditOptions, Effect, Mitigation, audit, effects, mitigate
from resight.predictions import Predictions

Draw = Callable[..., Predictions]
BY_SEX = AuditOptions(by=("sex",), bootstrap=200)


def with_validation(predictions: Predictions) -> Predictions:
    """Every other patient chooses, the others judge."""
    even = predictions.table["patient_id"].str[1:].astype(int) % 2 == 0
    table = predictions.table.assign(split=np.where(even, "validation", "test"))
    return replace(predictions, table=table)


def effect(found: Mitigation, label: str, metric: str) -> Effect:
    return next(one for one in found.effects if (one.label, one.metric) == (label, metric))


@pytest.fixture
def table(draw: Draw) -> Predictions:
    return with_validation(draw(2, patients=2000, fainter=1.0))


def test_equal_sensitivity_halves_the_planted_gap_and_shows_the_price(table: Predictions) -> None:
    found = mitigate(table, "equal_sensitivity", BY_SEX)
    for label in table.labels:
        gap = effect(found, label, "sensitivity_gap")
        assert gap.before.value > 0.2
        assert gap.after.value < gap.before.value / 2
        assert gap.change.high < 0
        assert effect(found, label, "fpr_gap").change.value > 0  # women pay in false alarms
        assert effect(found, label, "brier").change.value == 0  # what the model knows stays the same
    cuts = {one.group: one.threshold for one in found.thresholds if one.label == "mass"}
    assert cuts["F"] < cuts[""] < cuts["M"]


def test_equalised_odds_lower_the_larger_of_both_gaps(table: Predictions) -> None:
    found = mitigate(table, "equalised_odds", BY_SEX)
    for label in table.labels:
        assert effect(found, label, "equalised_odds_gap").change.value < 0


def test_recalibration_by_site_removes_a_calibration_gap(draw: Draw) -> None:
    predictions = with_validation(draw(3, patients=1500))
    women = predictions.table["sex"] == "F"
    p = predictions.table["score"].to_numpy() * 0.6
    shifted = np.where(women, p / (p + (1 - p) * 4), p)
    predictions = replace(predictions, table=predictions.table.assign(score=shifted))
    found = mitigate(predictions, "recalibrate", BY_SEX)
    for label in predictions.labels:
        gap = effect(found, label, "calibration_gap")
        assert gap.after.value < gap.before.value / 2
        assert effect(found, label, "brier").change.high < 0
    assert set(found.calibrations) == {"F", "M"}
    assert "thresholds" in found.to_dict()


def test_a_small_group_keeps_the_common_threshold(table: Predictions) -> None:
    rows = table.table
    rows["site"] = np.where(rows["patient_id"].isin([f"P{i}" for i in range(8)]), "small", "large")
    found = mitigate(table, "equal_sensitivity", AuditOptions(by=("site",), bootstrap=0))
    for label in table.labels:
        cuts = {one.group: one for one in found.thresholds if one.label == label}
        assert cuts["small"].threshold == cuts[""].threshold
        assert "fewer than 10" in cuts["small"].note
        assert str(effect(found, label, "sensitivity_gap").before).startswith("not estimable (1 group(s) of 2")


def test_nothing_is_chosen_on_what_is_judged(table: Predictions) -> None:
    judged = table.table["split"] == "test"
    turned = table.table.assign(target=np.where(judged, 1 - table.table["target"], table.table["target"]))
    first = mitigate(table, "equalised_odds", AuditOptions(by=("sex",), bootstrap=0)).thresholds
    again = mitigate(replace(table, table=turned), "equalised_odds", AuditOptions(by=("sex",), bootstrap=0)).thresholds
    assert first == again


def test_without_validation_rows_nothing_is_chosen(draw: Draw) -> None:
    with pytest.raises(PredictionsError, match="no validation rows"):
        mitigate(draw(0), "equal_sensitivity", BY_SEX)


def test_one_attribute_at_a_time(table: Predictions) -> None:
    with pytest.raises(SettingsError, match="one attribute"):
        mitigate(table, "equal_sensitivity", AuditOptions(by=("sex", "age")))


def test_another_model_is_compared_on_the_same_images(draw: Draw) -> None:
    usual, mended = draw(4, patients=800, fainter=1.5), draw(4, patients=800)
    found = {(one.label, one.metric): one for one in effects(usual, mended, BY_SEX)}
    assert found["mass", "sensitivity_gap"].change.high < 0
    assert found["mass", "worst_sensitivity"].change.low > 0
    same = effects(usual, usual, BY_SEX)
    assert all(one.change.value == 0 and one.change.low == 0 for one in same)
    with pytest.raises(PredictionsError, match="differ in images"):
        effects(usual, draw(4, patients=799), BY_SEX)


def test_gaps_are_those_of_the_audit(draw: Draw) -> None:
    predictions = draw(5)
    gaps = {(g.label, g.metric): g.gap.value for g in audit(predictions, BY_SEX).gaps}
    found = {(one.label, one.metric): one.before.value for one in effects(predictions, predictions, BY_SEX)}
    for label in predictions.labels:
        for ours, theirs in {
            "sensitivity_gap": "sensitivity",
            "fpr_gap": "fpr",
            "equalised_odds_gap": "equalised_odds",
            "calibration_gap": "observed_minus_expected",
        }.items():
            assert found[label, ours] == pytest.approx(gaps[label, theirs])
