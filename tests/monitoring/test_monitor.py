"""What changes is found and named; what does not change raises no more alarms than promised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resight.errors import PredictionsError
from resight.monitoring import MonitorOptions, Reference, fit_reference, monitor, read_reference
from resight.predictions import Predictions

Arrive = Callable[..., Predictions]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"shift": 1.0}, "score of a"),
        ({"darker": 8.0}, "brightness"),
        ({"portable": 0.7}, "view"),
        ({"overconfident": 1.5}, "calibration of b"),
    ],
)
def test_what_changed_is_named(arrive: Arrive, change: dict[str, float], column: str) -> None:
    found = monitor(fit_reference(arrive(0, 400)), [arrive(1, 300, **change)])
    drifted = {one.column for one in found.drifts if one.drifted}
    assert column in drifted
    assert found.drifted
    others = {"shift": set(), "darker": {"score of a", "view"}, "portable": {"score of a", "brightness"}}
    assert not drifted & others.get(next(iter(change)), {"score of a", "brightness", "view"})


def test_nothing_changed(arrive: Arrive) -> None:
    found = monitor(fit_reference(arrive(0, 400)), [arrive(1), arrive(2, start=200)])
    assert not found.drifted
    assert found.cases == 400
    assert {one.kind for one in found.drifts} == {"number", "category", "all outputs", "calibration"}
    assert all(not math.isnan(one.p) for one in found.drifts)


def test_one_look_raises_a_false_alarm_no_more_often_than_promised(arrive: Arrive) -> None:
    options = MonitorOptions(alpha=0.05)
    looks = [monitor(fit_reference(arrive(2 * s, 150)), [arrive(2 * s + 1, 60)], options).drifts for s in range(100)]
    alarms = sum(any(one.drifted for one in drifts) for drifts in looks)
    assert alarms <= 11  # 5 expected at most; 11 or fewer in 99 % of such experiments
    assert any(one.p < 0.05 for drifts in looks for one in drifts)


def test_only_the_first_image_of_a_patient_counts(arrive: Arrive) -> None:
    once = arrive(1, 100)
    table = once.table.assign(patient_id=["P0"] * 150 + once.table["patient_id"].tolist()[150:])
    found = monitor(fit_reference(arrive(0)), [Predictions(table, once.labels, once.task)])
    assert (found.images, found.cases) == (100, 26)


def test_without_outcomes_calibration_is_left_out(arrive: Arrive) -> None:
    found = monitor(fit_reference(arrive(0)), [arrive(1, outcomes=False)])
    assert {one.kind for one in found.drifts} == {"number", "category", "all outputs"}


def test_few_cases_are_not_tested(arrive: Arrive) -> None:
    found = monitor(fit_reference(arrive(0)), [arrive(1, 5, shift=4.0)])
    assert all(math.isnan(one.p) and one.undefined_because for one in found.drifts)
    assert "5 known values, fewer than 20" in {one.undefined_because for one in found.drifts}


def test_a_column_that_does_not_arrive_is_told(arrive: Arrive) -> None:
    now = arrive(1)
    found = monitor(fit_reference(arrive(0)), [replace(now, table=now.table.drop(columns=["view"]))])
    assert "view: not in the incoming table" in found.notes
    view = next(one for one in found.drifts if one.column == "view")
    assert (view.cases, math.isnan(view.p)) == (0, True)


def test_equal_scores_are_no_drift(arrive: Arrive) -> None:
    before, now = arrive(0, 100), arrive(1, 100)
    for one in (before, now):
        one.table[["score", "probability"]] = 0.1234567890123
    found = monitor(fit_reference(before), [now])
    assert not any(one.drifted for one in found.drifts if one.column.startswith("score"))
    assert found.alarm.case is None


def test_images_without_a_score_are_counted(arrive: Arrive) -> None:
    now = arrive(1)
    now.table.loc[now.table["image"] == "3.png", ["score", "probability"]] = np.nan
    found = monitor(fit_reference(arrive(0)), [now])
    assert (found.failed, found.drifted) == (1, False)


def test_other_labels_are_refused(arrive: Arrive) -> None:
    other = arrive(1).table.replace({"label": {"a": "c"}})
    with pytest.raises(PredictionsError, match="expected a, b"):
        monitor(fit_reference(arrive(0)), [Predictions(other, ("c", "b"), "multilabel")])


def test_labels_in_another_order_are_the_same_labels(arrive: Arrive) -> None:
    now = arrive(1)
    turned = now.table.iloc[np.arange(len(now.table)).reshape(-1, 2)[:, ::-1].ravel()].reset_index(drop=True)
    reference = fit_reference(arrive(0))
    first, second = (monitor(reference, [one]) for one in (now, Predictions(turned, ("b", "a"), "multilabel")))
    assert first.drifts == second.drifts


def test_too_few_patients_make_no_reference(arrive: Arrive) -> None:
    with pytest.raises(PredictionsError, match="at least 20"):
        fit_reference(arrive(0, 10))


def test_a_reference_travels_as_json(arrive: Arrive, tmp_path: Path) -> None:
    reference = fit_reference(arrive(0, 900))
    assert reference.rows == 500
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(reference.to_dict()))
    assert path.stat().st_size < 60_000
    assert read_reference(path) == reference
    path.write_text("[1]")
    with pytest.raises(PredictionsError, match="JSON object"):
        read_reference(path)


def test_the_reference_is_what_was_held_out(arrive: Arrive) -> None:
    table = arrive(0, 100)
    table.table["split"] = ["train"] * 100 + ["test"] * 100
    reference: Reference = fit_reference(table)
    assert (reference.chosen_on, reference.patients) == ("test", 50)


def test_no_row_of_a_reference_is_a_patients_record(arrive: Arrive) -> None:
    before = arrive(0, 100)
    before.table["age"] = np.repeat(np.arange(100.0), 2)[::-1]
    reference = fit_reference(before)
    assert list(reference.numbers["age"]) == sorted(reference.numbers["age"])
    assert list(reference.categories["view"]) == sorted(reference.categories["view"])
    assert list(reference.numbers["score of a"]) != sorted(reference.numbers["score of a"])


def with_features(predictions: Predictions, seed: int, moved: float = 0.0, crossed: float = 0.0) -> Predictions:
    """Four coordinates; `moved` shifts the first, `crossed` makes the last two go along with each other."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(predictions), 4))
    values[:, 0] += moved
    values[:, 3] = np.sqrt(1 - crossed**2) * values[:, 3] + crossed * values[:, 2]
    columns = {f"feature_{number}": np.repeat(column, 2) for number, column in enumerate(values.T, 1)}
    return Predictions(predictions.table.assign(**columns), predictions.labels, predictions.task)


def test_features_that_move_are_named_while_scores_stay(arrive: Arrive) -> None:
    reference = fit_reference(with_features(arrive(1, 400), 1))
    found = {one.column: one for one in monitor(reference, [with_features(arrive(2, 200), 2, moved=0.8)]).drifts}
    assert found["feature_1"].drifted
    assert found["all features"].drifted
    assert not found["all outputs"].drifted
    assert not found["score of a"].drifted


def test_features_that_drift_together_are_seen_only_together(arrive: Arrive) -> None:
    reference = fit_reference(with_features(arrive(1, 500), 1))
    found = {one.column: one for one in monitor(reference, [with_features(arrive(2, 400), 2, crossed=0.9)]).drifts}
    assert found["all features"].drifted
    assert not any(found[f"feature_{number}"].drifted for number in range(1, 5))


def test_features_that_do_not_arrive_are_told_once(arrive: Arrive) -> None:
    watched = monitor(fit_reference(with_features(arrive(1, 100), 1)), [arrive(2, 100)])
    assert [note for note in watched.notes if "resight predict --novelty" in note]
    assert not [one for one in watched.drifts if one.column.startswith("feature_")]
    assert not watched.drifted
