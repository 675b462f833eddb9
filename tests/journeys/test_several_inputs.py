"""Image and table, two images of a patient, and times to an event: from phantom to a judged prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.evaluation import survival_columns
from resight.predictions import Predictions

SETTINGS = Path(__file__).parents[2] / "benchmarks" / "multimodal"
SMALL = ("--set", "training.epochs=1", "--set", "recipe.size_px=[32, 32]", "--set", "evaluation.bootstrap=40")


def _train(resight, folder: Path, kind: str, *more: object) -> Path:
    assert resight("data", "phantom", folder / "cohort", "--kind", kind, "--option", "images=120", *more).code == 0
    where = ("--set", f"cohort.path={folder / 'cohort' / 'cohort.csv'}", "--set", "report.examples=2")
    answer = resight("train", SETTINGS / f"{kind}.toml", "--out", folder / "run", *SMALL, *where)
    assert answer.code == 0, answer.err
    return folder / "run"


@pytest.mark.slow
def test_image_and_table(resight, tmp_path: Path) -> None:
    run = _train(resight, tmp_path, "table")
    arms = {arm["name"] for arm in json.loads((run / "inputs.json").read_text())["arms"]}
    assert arms == {"all inputs", "images only", "table only", "table missing", "images missing"}
    assert "What each input adds" in (run / "report.html").read_text()
    images, table = tmp_path / "cohort" / "images", tmp_path / "cohort" / "cohort.csv"
    assert resight("predict", run, images, "--table", table, "--out", tmp_path / "p.csv").code == 0
    new = pd.read_csv(tmp_path / "p.csv")
    old = pd.read_csv(run / "predictions.csv")
    old["image"] = old["image"].str.removeprefix("images/")
    both = old[old["split"] == "test"].merge(new, on="image", suffixes=("", "_new"))
    assert len(both) == (old["split"] == "test").sum() > 20
    assert (both["logit"] - both["logit_new"]).abs().max() < 1e-3
    alone = resight("predict", run, images, "--out", tmp_path / "alone.csv")
    assert alone.code == 0
    assert (pd.read_csv(tmp_path / "alone.csv")["logit"] - new["logit"]).abs().max() > 1e-3
    lacking = pd.read_csv(table).drop(columns="bnp_pg_ml")
    lacking.to_csv(tmp_path / "lacking.csv", index=False)
    answer = resight("predict", run, images, "--table", tmp_path / "lacking.csv")
    assert answer.code == 4
    assert "no column 'bnp_pg_ml', which the model reads" in answer.err
    strange = pd.read_csv(table).assign(ward="moon")
    strange.to_csv(tmp_path / "strange.csv", index=False)
    resight("predict", run, images, "--table", tmp_path / "strange.csv", "--out", tmp_path / "s.csv")
    assert pd.read_csv(tmp_path / "s.csv")["error"].str.contains("'moon', which training did not see").all()


@pytest.mark.slow
def test_two_images_of_a_patient(resight, tmp_path: Path) -> None:
    run = _train(resight, tmp_path, "modalities", "--option", "missing=0.2")
    arms = {arm["name"] for arm in json.loads((run / "inputs.json").read_text())["arms"]}
    assert arms == {"all inputs", "ct missing", "pet missing"}
    cases = tmp_path / "cohort" / "cohort.csv"
    assert resight("predict", run, "--table", cases, "--out", tmp_path / "p.csv").code == 0
    new = pd.read_csv(tmp_path / "p.csv")
    old = pd.read_csv(run / "predictions.csv")
    assert new["error"].isna().all()
    new["image"] = new["image"].str.split("/cohort/").str[-1]
    both = old[old["split"] == "test"].merge(new, on="image", suffixes=("", "_new"))
    assert len(both) == (old["split"] == "test").sum() > 20
    assert (both["logit"] - both["logit_new"]).abs().max() < 1e-3


@pytest.mark.slow
def test_times_to_an_event(resight, tmp_path: Path) -> None:
    run = _train(resight, tmp_path, "prognosis", "--option", "seed=1")
    found = json.loads((run / "prognosis.json").read_text())
    judged = resight("evaluate", run / "predictions.csv", "--bootstrap", 40, "--json")
    assert judged.json()["prognosis"]["uno"] == pytest.approx(found["uno"])
    assert "How well times are foreseen" in (run / "report.html").read_text()
    images, table = tmp_path / "cohort" / "images", tmp_path / "cohort" / "cohort.csv"
    assert resight("predict", run, images, "--table", table, "--out", tmp_path / "p.csv").code == 0
    new = pd.read_csv(tmp_path / "p.csv")
    assert new.groupby("image")["survival"].apply(lambda s: s.is_monotonic_decreasing).all()
    again = resight("evaluate", tmp_path / "p.csv", "--json")
    assert again.code == 0, again.err
    assert again.json()["prognosis"]["images"] == 120


def test_two_prognoses_are_compared_by_concordance_and_findings_are_refused(resight, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    risk, ends = rng.normal(size=200), (0.5, 1.0, 2.0)
    images = pd.DataFrame(
        {"image": [f"{i}.png" for i in range(200)], "time": rng.exponential(np.exp(-risk)), "event": 1}
    )
    paths = [tmp_path / name for name in ("a.csv", "b.csv")]
    for path, believed in zip(paths, (rng.normal(size=200), risk), strict=True):
        hazards = 1 - np.exp(-np.exp(believed)[:, None] * np.diff(ends, prepend=0.0))
        labels = tuple(f"to {end}" for end in ends)
        columns = survival_columns(hazards, ends)
        Predictions.from_arrays(images, labels, "multilabel", score=hazards, target=hazards > 2, **columns).write(path)
    answer = resight("compare", *paths, "--json")
    assert answer.code == 0, answer.err
    assert answer.json()["difference"]["low"] > 0
    assert "concordance (Uno)" in resight("compare", *paths).out
    pd.read_csv(paths[1]).drop(columns=["time", "event", "horizon"]).to_csv(paths[1], index=False)
    refused = resight("compare", *paths)
    assert refused.code == 4
    assert "the second table is no prognosis" in refused.err


@pytest.mark.slow
def test_what_only_the_combination_shows_is_found_and_lost_with_an_input(resight, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    assert resight("data", "phantom", cohort, "--kind", "modalities", "--option", "images=1000").code == 0
    quick = ("--set", "evaluation.bootstrap=40", "--set", "report.examples=0")
    where = ("--set", f"cohort.path={cohort / 'cohort.csv'}")
    assert resight("train", SETTINGS / "modalities.toml", "--out", tmp_path / "run", *where, *quick).code == 0
    arms = {arm["name"]: arm for arm in json.loads((tmp_path / "run" / "inputs.json").read_text())["arms"]}
    assert arms["all inputs"]["value"]["value"] >= 0.95
    for missing in ("ct missing", "pet missing"):
        assert arms[missing]["value"]["value"] <= 0.65  # nothing is left to tell, and nothing breaks
        assert arms[missing]["gain"]["low"] > 0.3
