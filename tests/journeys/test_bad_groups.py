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


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"sex": ["X"] + ["M"] * (N - 1)}, "not estimable (0 patients with"),
        ({"sex": [None] * 30 + ["F", "M"] * 25}, "sex: not known for 30 of 80 images, left out"),
        ({"sex": [None] * N}, "sex: 0 group(s), so nothing can be compared"),
        ({"sex": table()["target"].map({0: "F", 1: "M"})}, "not estimable (0 patients with another value"),
        ({"target": 0}, "not estimable (0 patients with the attribute, fewer than 10)"),
    ],
)
def test_the_probe_says_what_it_cannot_estimate(resight: Any, tmp_path: Path, columns: Any, told: str) -> None:
    path = tmp_path / "predictions.csv"
    table(**columns).to_csv(path, index=False)
    answer = resight("probe", path, "--by", "sex")
    assert answer.code == 0
    assert told in " ".join((answer.out + answer.err).split())


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"sex": ["X"] + ["M"] * (N - 1)}, "mass: not estimable (1 group(s) of 1 with 10 patients a class)"),
        ({"sex": [None] * N}, "mass: not estimable (0 group(s) of 0 with 10 patients a class)"),
        ({"sex": table()["target"].map({0: "F", 1: "M"})}, "0 patients with negatives, fewer than 10"),
        ({"probability": 0.5}, "0.500"),
        ({"target": 0}, "mass: not estimable (no positives or no negatives)"),
    ],
)
def test_mitigation_says_what_it_cannot_mend(resight: Any, tmp_path: Path, columns: Any, told: str) -> None:
    path = tmp_path / "predictions.csv"
    table(**columns).assign(split=["validation"] * (N // 2) + ["test"] * (N // 2)).to_csv(path, index=False)
    answer = resight("mitigate", path, "--by", "sex", "--bootstrap", 20)
    assert answer.code == 0
    assert told in " ".join((answer.out + answer.err).split())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decision": np.nan, "rating": np.nan}, "mass, auroc: not estimable (readings hold no rating)"),
        ({"rating": 1.0, "decision": 1}, "not estimable (all readers used one and the same category only)"),
        ({"reader": "A"}, "1 reader; at least 2 are needed (80 of 80 images are complete)"),
    ],
)
def test_a_reader_study_says_what_it_cannot_estimate(resight: Any, tmp_path: Path, change: Any, told: str) -> None:
    cases = table()
    cases.to_csv(tmp_path / "predictions.csv", index=False)
    readings = cases[["image", "target"]].rename(columns={"target": "decision"}).assign(rating=1.0)
    several = [readings.assign(reader=name, arm=arm) for name in ("A", "B") for arm in ("unaided", "aided")]
    changed = pd.concat(several).assign(**change).drop_duplicates(["image", "reader", "arm"])
    changed.to_csv(tmp_path / "readings.csv", index=False)
    files = (tmp_path / "readings.csv", tmp_path / "predictions.csv")
    answer = resight("readerstudy", "analyse", *files, "--bootstrap", 20)
    assert answer.code == 0
    assert told in " ".join((answer.out + answer.err).split())


@pytest.mark.parametrize(
    ("columns", "code", "told"),
    [
        ({"sex": ["X"] + ["M"] * (N - 1)}, 10, "sex = X"),
        ({"sex": [None] * N}, 0, "sex: not in the incoming table"),
        ({"target": np.nan}, 0, "no alarm in 80 cases"),
        ({"target": 0}, 10, "mass rarer than predicted"),
        ({"probability": 0.5}, 10, "score of mass"),
        ({"patient_id": "P"}, 0, "1 known values, fewer than 20"),
    ],
)
def test_the_watch_says_what_it_cannot_compare(
    resight: Any, tmp_path: Path, columns: Any, code: int, told: str
) -> None:
    table().to_csv(tmp_path / "reference.csv", index=False)
    table(**columns).to_csv(tmp_path / "incoming.csv", index=False)
    answer = resight("monitor", tmp_path / "reference.csv", tmp_path / "incoming.csv")
    assert answer.code == code
    assert told in " ".join((answer.out + answer.err).split())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("train", "val", "test"), {"train", "validation", "test"}),
        ((0, 1, 2), {"0", "1", "2"}),
    ],
)
def test_the_leak_check_reads_a_column_of_parts_as_other_commands_do(
    resight: Any, tmp_path: Path, words: tuple[Any, ...], parts: set[str]
) -> None:
    rows = table().drop(columns=["label", "probability"]).rename(columns={"target": "mass"})
    path = tmp_path / "cohort.csv"
    for name in rows["image"]:
        (tmp_path / name).touch()
    rows.assign(part=[words[number % 3] for number in range(N)]).to_csv(path, index=False)
    given = ("data", "leakcheck", path, "--labels", "mass", "--split-column", "part", "--without-images")
    assert set(resight(*given, "--json").json()["parts"]) == parts
    rows.assign(part=["train", "tset"] * (N // 2)).to_csv(path, index=False)
    answer = resight(*given)
    assert answer.code == 4
    assert "column 'part': 40 rows have the split 'tset'" in answer.complaint
