"""What cannot be estimated of groups is said with the count, by the commands, and nothing crashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

N = 80


def table(**columns: Any) -> pd.DataFrame:
    """A finding, scores that know a little of it, and half the patients F."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, N)
    probability = np.clip(0.3 + 0.3 * target + 0.2 * rng.normal(size=N), 0, 1).round(3)
    rows = {"image": [f"{i}.png" for i in range(N)], "patient_id": [f"P{i}" for i in range(N)], "label": "mass"}
    rows |= {"probability": probability, "target": target, "sex": np.tile(["F", "M"], N // 2)}
    return pd.DataFrame(rows | columns)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"sex": ["X"] + ["M"] * (N - 1)}, "fewer than 20 images, not measured: X"),
        ({"sex": [None] * 30 + ["F", "M"] * 25}, "not known for 30 of 80 images"),
        ({"sex": [None] * N}, "sex: 0 group(s), so nothing can be compared"),
        ({"sex": table()["target"].map({0: "F", 1: "M"})}, "says the same as the label mass"),
        ({"probability": 0.5}, "0.500"),
        ({"target": np.where(table()["sex"] == "F", 0, table()["target"])}, "not estimable (0)"),
    ],
)
def test_the_audit_says_what_it_cannot_estimate(resight: Any, tmp_path: Path, columns: Any, told: str) -> None:
    path = tmp_path / "predictions.csv"
    table(**columns).to_csv(path, index=False)
    answer = resight("audit", path, "--by", "sex", "--bootstrap", 20)
    assert answer.code == 0
    assert told in " ".join((answer.out + answer.err).split())


def test_probabilities_outside_0_to_1_are_refused_and_scores_are_ranked(resight: Any, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    table(probability=1.5).to_csv(path, index=False)
    answer = resight("audit", path, "--by", "sex")
    assert answer.code == 4
    assert "probability = 1.5 for image '0.png'" in answer.complaint
    table().rename(columns={"probability": "score"}).assign(score=lambda t: 7 * t["score"]).to_csv(path, index=False)
    answer = resight("audit", path, "--by", "sex", "--bootstrap", 20)
    assert answer.code == 0
    assert "Scores outside 0 to 1 are no probabilities" in " ".join(answer.err.split())


def test_missing_reads_are_counted_by_the_command(resight: Any, tmp_path: Path) -> None:
    cases = table().assign(
        split=["validation", "test"] * (N // 2), decision=lambda t: (t["probability"] > 0.5).astype(int)
    )
    cases.to_csv(tmp_path / "predictions.csv", index=False)
    readings = pd.concat([cases[["image", "target"]].assign(reader=name) for name in ("A", "B")])
    readings["decision"] = readings.pop("target").astype(float)
    readings.iloc[:6, readings.columns.get_loc("decision")] = np.nan
    readings.to_csv(tmp_path / "readings.csv", index=False)
    answer = resight("defer", tmp_path / "predictions.csv", tmp_path / "readings.csv", "--bootstrap", 20)
    assert answer.code == 0
    assert "3 " in answer.err
    assert "left out" in " ".join(answer.err.split())
