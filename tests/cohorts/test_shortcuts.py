from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from resight.cohorts.shortcuts import clustered_auroc, column_aurocs


def test_auroc_is_that_of_scikit_learn_with_ties(rng):
    score = rng.integers(0, 6, 400).astype(float)
    positive = rng.random(400) < 0.2 + score / 10
    value = clustered_auroc(score, positive, np.arange(400))
    assert value.value == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    assert value.low < value.value < value.high


def test_interval_of_independent_rows_is_delongs(rng):
    score = rng.normal(size=120)
    positive = rng.random(120) < norm.cdf(score)
    value = clustered_auroc(score, positive, np.arange(120))
    x, y = score[positive], score[~positive]
    psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    delong = psi.mean(axis=1).var(ddof=1) / len(x) + psi.mean(axis=0).var(ddof=1) / len(y)
    assert (value.high - value.low) / 2 == pytest.approx(1.959964 * np.sqrt(delong), rel=0.02)


def test_repeating_every_row_of_a_patient_does_not_narrow_the_interval(rng):
    score, positive = rng.normal(size=100), rng.random(100) < 0.5
    once = clustered_auroc(score, positive, np.arange(100))
    ten_times = clustered_auroc(np.tile(score, 10), np.tile(positive, 10), np.tile(np.arange(100), 10))
    assert ten_times.value == pytest.approx(once.value)
    assert ten_times.high - ten_times.low == pytest.approx(once.high - once.low)


def test_intervals_of_clustered_data_cover(rng):
    covered = 0
    for _ in range(200):
        patient = np.repeat(np.arange(60), 5)
        positive = (rng.random(60) < 0.5)[patient]
        value = clustered_auroc(rng.normal(size=60)[patient] + rng.normal(size=300) * 0.3, positive, patient)
        covered += value.low <= 0.5 <= value.high
    assert covered >= 180


def test_too_few_of_a_class_is_not_estimable():
    value = clustered_auroc(np.arange(20.0), np.arange(20) < 3, np.arange(20))
    assert np.isnan(value.value)
    assert value.undefined_because == "3 positives, 17 negatives"


def test_columns_that_tell_and_columns_that_do_not(rng):
    count = 600
    positive = rng.random(count) < 0.4
    columns = pd.DataFrame(
        {
            "same": np.where(positive, "a", "b"),
            "partly": np.where(rng.random(count) < 0.8, positive, rng.random(count) < 0.5),
            "u-shaped": np.where(positive, rng.choice([-3.0, 3.0], count), 0) + rng.normal(size=count),
            "missing": np.where(positive, np.nan, 1.0),
            "noise": rng.normal(size=count),
            "constant": "x",
            "identifier": [f"id{row}" for row in range(count)],
        }
    )
    found = column_aurocs(columns, positive[:, None].astype(float), ("X",), np.arange(count))
    by_name = {one.column: one.auroc for one in found}
    assert [one.auroc.value for one in found] == sorted((one.auroc.value for one in found), reverse=True)
    assert set(by_name) == {"same", "partly", "u-shaped", "missing", "noise"}
    assert by_name["same"].value == by_name["missing"].value == 1
    assert 0.85 < by_name["partly"].value < 0.95
    assert by_name["u-shaped"].value > 0.9
    assert by_name["noise"].low < 0.5


def test_a_patient_is_not_recognised_again(rng):
    """A column that only says who the patient is tells nothing about patients of another fold."""
    patient = np.repeat(np.arange(100), 6)
    positive = (rng.random(100) < 0.5)[patient].astype(float)
    columns = pd.DataFrame({"who": [f"p{p}" for p in patient]})
    by_patient = column_aurocs(columns, positive[:, None], ("X",), patient)[0].auroc
    by_image = column_aurocs(columns, positive[:, None], ("X",), np.arange(600))[0].auroc
    assert by_image.low > 0.95
    assert by_patient.low <= 0.5 <= by_patient.high


def test_masked_rows_are_left_out(rng):
    target = np.where(np.arange(200) < 100, rng.random(200) < 0.5, np.nan)
    columns = pd.DataFrame({"c": np.where(np.isnan(target), "z", np.where(target == 1, "a", "b"))})
    found = column_aurocs(columns, target[:, None], ("X",), np.arange(200))
    assert found[0].auroc.n == 100
