"""Two prognoses are compared by concordance, whatever the order of their rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from resight.errors import PredictionsError
from resight.evaluation import (
    compare_prognoses,
    compare_prognosis_tables,
    evaluate_prognosis,
    survival_columns,
)
from resight.predictions import Predictions

HORIZONS = (0.5, 1.0, 2.0)
LABELS = tuple(f"to {end}" for end in HORIZONS)


def _table(risk: np.ndarray, believed: np.ndarray) -> Predictions:
    rng = np.random.default_rng(0)
    died, left = rng.exponential(np.exp(-risk)), rng.uniform(0.3, 3.0, len(risk))
    images = pd.DataFrame({"image": [f"{i}.png" for i in range(len(risk))]})
    images["time"], images["event"] = np.minimum(died, left), (died <= left).astype(int)
    hazards = 1 - np.exp(-np.exp(believed)[:, None] * np.diff(HORIZONS, prepend=0.0))
    return Predictions.from_arrays(
        images, LABELS, "multilabel", score=hazards, target=hazards > 2, **survival_columns(hazards, HORIZONS)
    )


@pytest.fixture(scope="module")
def both() -> tuple[Predictions, Predictions]:
    rng = np.random.default_rng(5)
    risk = rng.normal(size=400)
    return _table(risk, risk + rng.normal(size=400)), _table(risk, risk)


def test_the_better_one_is_told_whatever_the_order_of_rows(both: tuple[Predictions, Predictions]) -> None:
    worse, better = both
    sorted_ = replace(better, table=better.table.sort_values("image", kind="stable", ignore_index=True))
    found = compare_prognosis_tables(worse, sorted_)
    gain, p = compare_prognoses(*map(evaluate_prognosis, both))
    assert (found.difference.value, found.difference.low, found.p) == pytest.approx((gain.value, gain.low, p))
    assert found.difference.low > 0
    assert found.uno_b.value - found.uno_a.value == pytest.approx(gain.value)
    assert found.events == int(worse.table["event"].sum() / len(HORIZONS))


def test_what_one_table_does_not_know_is_left_out_of_both(both: tuple[Predictions, Predictions]) -> None:
    worse, better = both
    hole = better.table.copy()
    hole.loc[hole["image"].isin(["3.png", "7.png"]), "score"] = np.nan
    found = compare_prognosis_tables(worse, replace(better, table=hole))
    assert found.images == 398
    assert found.notes == ("2 images lack a prognosis or a time and are left out",)


def test_other_times_other_intervals_and_findings_are_refused(both: tuple[Predictions, Predictions]) -> None:
    worse, better = both
    later = better.table.copy()
    later.loc[later["image"] == "5.png", "time"] += 1.0
    with pytest.raises(
        PredictionsError, match=r"image '5\.png' has another time in the second table \(1 images differ\)"
    ):
        compare_prognosis_tables(worse, replace(better, table=later))
    longer = better.table.assign(horizon=better.table["horizon"] * 2)
    with pytest.raises(PredictionsError, match="has another horizon"):
        compare_prognosis_tables(worse, replace(better, table=longer))
    findings = replace(better, table=better.table.drop(columns=["time", "event", "horizon"]))
    with pytest.raises(PredictionsError, match="the second table is no prognosis; expected two prognoses"):
        compare_prognosis_tables(worse, findings)
