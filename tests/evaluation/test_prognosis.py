"""A prognosis is judged from its predictions table alone."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from resight.errors import PredictionsError
from resight.evaluation import (
    EvaluationOptions,
    compare_prognoses,
    evaluate_prognosis,
    is_prognosis,
    survival_columns,
    survival_of,
)
from resight.predictions import Predictions

HORIZONS = (0.5, 1.0, 2.0)


def _table(risk: np.ndarray, believed: np.ndarray, seed: int = 0) -> Predictions:
    """Exponential times of a known rate, and hazards of what is believed of it."""
    rng = np.random.default_rng(seed)
    died, left = rng.exponential(np.exp(-risk)), rng.uniform(0.3, 3.0, len(risk))
    images = pd.DataFrame({"image": [f"{i}.png" for i in range(len(risk))]})
    images["time"], images["event"] = np.minimum(died, left), (died <= left).astype(int)
    width = np.diff(HORIZONS, prepend=0.0)
    hazards = 1 - np.exp(-np.exp(believed)[:, None] * width)
    labels = tuple(f"to {end}" for end in HORIZONS)
    return Predictions.from_arrays(
        images, labels, "multilabel", score=hazards, probability=hazards, **survival_columns(hazards, HORIZONS)
    )


@pytest.fixture(scope="module")
def risk() -> np.ndarray:
    return np.random.default_rng(5).normal(size=600)


def test_survival_is_the_product_of_what_is_left_over() -> None:
    np.testing.assert_allclose(survival_of(np.array([[0.5, 0.2, 0.0]])), [[0.5, 0.4, 0.4]])


def test_the_true_hazards_are_calibrated_and_beat_the_curve_without_a_model(risk: np.ndarray) -> None:
    found = evaluate_prognosis(_table(risk, risk))
    assert found.harrell.low > 0.65
    assert found.images == 600
    for at in found.horizons:
        assert at.brier.value < at.brier_without_model
        assert at.observed.low < at.expected < at.observed.high
        assert [low for low, _ in at.by_risk] == sorted(low for low, _ in at.by_risk)
    assert found.integrated_brier.value < 0.25


def test_a_risk_that_is_stated_too_high_shows(risk: np.ndarray) -> None:
    found = evaluate_prognosis(_table(risk, risk + 1.0))
    assert all(at.expected > at.observed.high for at in found.horizons)


def test_what_knows_nothing_has_a_concordance_of_a_half(risk: np.ndarray) -> None:
    found = evaluate_prognosis(_table(risk, np.random.default_rng(1).normal(size=600)))
    assert found.uno.low < 0.5 < found.uno.high


def test_a_better_prognosis_is_told_from_a_worse_one(risk: np.ndarray) -> None:
    noisy = risk + np.random.default_rng(2).normal(size=600)
    worse, better = (evaluate_prognosis(_table(risk, believed)) for believed in (noisy, risk))
    gain, p = compare_prognoses(worse, better)
    assert gain.low > 0
    assert p < 0.01
    assert compare_prognoses(better, better)[0].value == 0
    other = evaluate_prognosis(_table(risk[:300], risk[:300]))
    with pytest.raises(PredictionsError, match="different rows"):
        compare_prognoses(better, other)


def test_it_becomes_json_and_comes_back_from_a_file(risk: np.ndarray, tmp_path) -> None:
    table = _table(risk, risk)
    table.write(tmp_path / "p.csv")
    again = Predictions.read(tmp_path / "p.csv", "multilabel")
    assert is_prognosis(again)
    text = json.dumps(evaluate_prognosis(again).to_dict(), allow_nan=False)
    assert json.loads(text)["uno"]["value"] == pytest.approx(evaluate_prognosis(table).uno.value)
    assert not {"estimate", "owner"} & set(json.loads(text))


def test_few_events_get_no_interval() -> None:
    few = np.full(40, -6.0)
    few[:3] = 2.0
    found = evaluate_prognosis(_table(few, few), EvaluationOptions())
    assert math.isnan(found.harrell.low)


def test_what_was_observed_is_kaplan_and_meiers_curve_with_greenwoods_error() -> None:
    """Of four, one dies at 0.4, one at 0.8, one leaves at 1.5, one is seen until 3."""
    table = _table(np.zeros(4), np.zeros(4))
    for column, values in (("time", [0.4, 0.8, 1.5, 3.0]), ("event", [1, 1, 0, 0])):
        images = [f"{row}.png" for row in range(4)]
        table.table[column] = table.table["image"].map(dict(zip(images, values, strict=True)))
    first, second, third = (at.observed for at in evaluate_prognosis(table).horizons)
    assert (first.value, second.value, third.value) == pytest.approx((0.25, 0.5, 0.5))
    assert second.high - second.value == pytest.approx(1.959964 * 0.5 * math.sqrt(1 / (4 * 3) + 1 / (3 * 2)))
    assert first.low == 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("time", -1.0, "a time of -1"), ("event", 2, "neither 0 nor 1"), ("event", np.nan, "neither 0 nor 1")],
)
def test_impossible_outcomes_are_told(risk: np.ndarray, column: str, value: float, message: str) -> None:
    table = _table(risk, risk)
    table.table.loc[table.table["image"] == "3.png", column] = value
    with pytest.raises(PredictionsError, match=message):
        evaluate_prognosis(table)


def test_a_table_of_findings_is_no_prognosis() -> None:
    images = pd.DataFrame({"image": ["a", "b"]})
    table = Predictions.from_arrays(images, ("x",), "binary", score=np.array([[0.1], [0.2]]))
    assert not is_prognosis(table)
    with pytest.raises(PredictionsError, match="no column 'time'"):
        evaluate_prognosis(table)
