"""From images to a verified bundle, as a user walks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from resight.experiments import load_experiment


def test_a_run_folder_holds_what_is_promised(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert names == {
        *("settings.toml", "record.json", "metrics.json", "predictions.csv", "excluded.csv", "report.html"),
        *("bundle", "checkpoints", "cases.safetensors", "explanations.json"),
    }


def test_a_bundle_names_no_folder_of_the_machine(run_folder: Path, phantom: Path) -> None:
    manifest = (run_folder / "bundle" / "manifest.json").read_text()
    assert str(phantom) not in manifest
    assert json.loads(manifest)["settings"]["cohort"]["path"] == "cohort.csv"
    assert str(phantom) not in (run_folder / "bundle" / "card.md").read_text()


def test_running_again_from_the_settings_of_a_run_gives_the_same(resight, run_folder: Path, tmp_path: Path) -> None:
    assert resight("train", run_folder / "settings.toml", "--out", tmp_path / "again").code == 0
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (run_folder / name).read_bytes()


def test_evaluate_and_compare_read_what_train_wrote(resight, run_folder: Path, tmp_path: Path) -> None:
    table = run_folder / "predictions.csv"
    judged = resight("evaluate", table, "--bootstrap", 40, "--json")
    assert judged.code == 0
    stored = json.loads((run_folder / "metrics.json").read_text())
    again = judged.json()
    for one, other in zip(again["labels"], stored["labels"], strict=True):
        assert one["metrics"]["auroc"] == other["metrics"]["auroc"]
    compared = resight("compare", table, table, "--bootstrap", 40, "--json")
    assert compared.code == 0
    assert compared.json()["macro"]["value"] == 0
    assert resight("evaluate", table, "--bootstrap", 0, "--out", tmp_path / "m.json").code == 0
    assert json.loads((tmp_path / "m.json").read_text())["images"] == again["images"]


def test_predict_gives_the_figures_of_the_run(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    answer = resight("predict", run_folder, phantom / "images", "--out", tmp_path / "p.csv")
    assert answer.code == 0, answer.err
    new = pd.read_csv(tmp_path / "p.csv")
    old = pd.read_csv(run_folder / "predictions.csv")
    old["image"] = old["image"].str.removeprefix("images/")
    both = old[old["split"] == "test"].merge(new, on=["image", "label"], suffixes=("", "_new"))
    assert len(both) == (old["split"] == "test").sum()
    assert (both["probability"] - both["probability_new"]).abs().max() < 1e-5
    assert (both["decision"] == both["decision_new"]).mean() > 0.98


def test_verify_finds_one_changed_byte(resight, run_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    assert resight("verify", copy).code == 0
    changes: dict[str, Callable[[bytes], bytes]] = {
        "bundle/model.safetensors": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        "bundle/manifest.json": lambda b: b.replace(b"small", b"smalL", 1),
        "bundle/card.md": lambda b: b + b" ",
        "metrics.json": lambda b: b.replace(b'"images": ', b'"images": 1', 1),
        "predictions.csv": _other_score,
    }
    for name, change in changes.items():
        path = copy / name
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before
        answer = resight("verify", copy)
        assert answer.code == 5, name
        assert answer.complaint.startswith("BundleError: ")
        path.write_bytes(before)
    assert resight("verify", copy / "bundle").code == 0


def _other_score(text: bytes) -> bytes:
    lines = text.decode().splitlines()
    row = next(i for i, line in enumerate(lines) if ",test," in line and ",1.0," in line)
    columns = lines[0].split(",")
    cells = lines[row].split(",")
    cells[columns.index("score")] = "0.0"
    cells[columns.index("probability")] = "0.0"
    return "\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :], ""]).encode()


def test_set_overrides_a_key(resight, experiment: Path, tmp_path: Path) -> None:
    changed = ("--set", "training.epochs=1", "--set", "recipe.size_px=[32, 24]", "--set", "report.examples=0")
    answer = resight("train", experiment, "--out", tmp_path / "run", *changed, "--json")
    assert answer.code == 0
    assert {"labels", "macro"} <= set(answer.json())
    settings = load_experiment(tmp_path / "run" / "settings.toml")
    assert (settings.training.epochs, settings.recipe.size_px) == (1, (32, 24))


@pytest.mark.slow
def test_a_plan_runs_as_it_is(resight, phantom: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    assert resight("plan", phantom / "cohort.csv", "--labels", "Effusion", "--minutes", 0.1, "--out", plan).code == 0
    assert resight("plan", phantom / "cohort.csv", "--out", plan).code == 7
    load_experiment(plan)
    answer = resight("train", plan, "--out", tmp_path / "run", "--smoke", "--set", "report.examples=0")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(("override", "weights"), [("folds=3", 3), ("members=2", 2)])
def test_ensembles_never_judge_what_a_member_saw(resight, experiment, phantom, tmp_path, override, weights) -> None:
    run = tmp_path / "run"
    answer = resight("train", experiment, "--out", run, "--set", override, "--set", "training.epochs=1")
    assert answer.code == 0, answer.err
    assert len(list((run / "bundle").glob("model_*.safetensors"))) == weights
    table = pd.read_csv(run / "predictions.csv")
    if override == "folds=3":
        learning = table[table["split"] != "test"]
        assert set(learning["split"]) == {"validation"}
        assert set(learning["fold"]) == {0, 1, 2}
        assert learning["logit"].notna().all()
        assert (learning.groupby("patient_id")["fold"].nunique() == 1).all()
    else:
        assert table.loc[table["split"] == "train", "logit"].isna().all()
    assert table.loc[table["split"] == "test", "logit"].notna().all()
    assert resight("verify", run).code == 0


def test_a_folder_of_classes(resight, phantom: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(phantom / "cohort.csv")
    for name, value in zip(rows["image"], rows["Effusion"], strict=True):
        folder = tmp_path / "classes" / ("effusion" if value else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom / name, folder)
    settings = tmp_path / "classes.toml"
    settings.write_text(
        f'cohort.path = "{tmp_path / "classes"}"\nsplit.group = "none"\nrecipe.size_px = [32, 32]\n'
        "model.backbone.depth = 10\nmodel.backbone.width = 16\n"
    )
    answer = resight("train", settings, "--out", tmp_path / "run", "--smoke", "--set", "report.examples=0")
    assert answer.code == 0, answer.err
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(table["label"]) == {"effusion"}
    assert table["target"].sum() == rows["Effusion"].sum()


def test_more_than_two_classes(resight, phantom: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(phantom / "cohort.csv")
    rows["class"] = rows["Effusion"].map({0: "clear", 1: "effusion"}).mask(rows["Cardiomegaly"] == 1, "heart")
    rows[["image", "patient_id", "class"]].to_csv(phantom / "classes.csv", index=False)
    settings = tmp_path / "three.toml"
    settings.write_text(
        f'members = 2\ncohort.path = "{phantom / "classes.csv"}"\nmodel.backbone.depth = 10\n'
        "model.backbone.width = 16\n"
    )
    answer = resight("train", settings, "--out", tmp_path / "run", "--smoke", "--set", "recipe.size_px=[32, 32]")
    assert answer.code == 0, answer.err
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    sums = table[table["split"] == "test"].groupby("image")["probability"].sum()
    assert (sums - 1).abs().max() < 1e-6
    assert resight("verify", tmp_path / "run").code == 0


def test_withheld_test_labels_are_predicted_and_not_judged(resight, phantom: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(phantom / "cohort.csv")
    rows.loc[rows["split"] == "test", "Effusion"] = float("nan")
    rows[["image", "patient_id", "split", "Effusion"]].to_csv(phantom / "withheld.csv", index=False)
    settings = tmp_path / "withheld.toml"
    settings.write_text(
        f'cohort.path = "{phantom / "withheld.csv"}"\ncohort.labels = ["Effusion"]\nsplit.column = "split"\n'
        "model.backbone.depth = 10\nmodel.backbone.width = 16\nrecipe.size_px = [32, 32]\n"
    )
    answer = resight("train", settings, "--out", tmp_path / "run", "--smoke")
    assert answer.code == 0, answer.err
    test = pd.read_csv(tmp_path / "run" / "predictions.csv").query("split == 'test'")
    assert len(test) == (rows["split"] == "test").sum()
    assert test["probability"].notna().all()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["evaluated_on"] == "validation"
    assert resight("verify", tmp_path / "run").code == 0


@pytest.mark.slow
def test_demo(resight, tmp_path: Path) -> None:
    answer = resight("demo", "--smoke", "--out", tmp_path / "demo")
    assert answer.code == 0
    assert answer.out.strip().splitlines()[-1] == str(tmp_path / "demo" / "run" / "report.html")
    assert resight("demo", "--smoke", "--out", tmp_path / "demo").code == 7


def test_a_run_explains_doubts_and_names_similar_cases(
    resight, run_folder: Path, phantom: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(phantom / "cohort.csv")
    image = phantom / table.loc[table["split"] == "test", "image"].iloc[0]
    assert resight("explain", run_folder, image, "--out", tmp_path / "maps").code == 0
    evidence = pd.read_csv(tmp_path / "maps" / "evidence.csv")
    assert evidence["nearest"].notna().all()
    assert "Most alike" in (tmp_path / "maps" / "evidence.html").read_text(encoding="utf-8")
    out = tmp_path / "doubt.csv"
    assert resight("predict", run_folder, image, "--doubt", "views", "--novelty", "--out", out).code == 0
    doubt = pd.read_csv(out)
    assert (doubt["spread"] >= 0).all()
    assert doubt["spread"].max() > 0
    assert doubt["novelty"].between(0, 1).all()
    assert doubt.filter(like="feature_").notna().all().all()
    assert doubt.filter(like="feature_").shape[1] >= 1
    assert resight("predict", run_folder, image, "--doubt", "members").code == 3
