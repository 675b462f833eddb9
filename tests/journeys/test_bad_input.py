"""What goes wrong is one line on stderr and the documented exit code, and nothing is left half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def images(phantom: Path, tmp_path: Path) -> Path:
    """A copy of the phantom that may be spoiled."""
    return shutil.copytree(phantom, tmp_path / "copy")


def _train(resight, experiment: Path, out: Path, *sets: str):
    given = [part for one in ("training.epochs=1", "report.examples=0", *sets) for part in ("--set", one)]
    return resight("train", experiment, "--out", out, *given)


def _moved(images: Path) -> str:
    return f'cohort.path="{images / "cohort.csv"}"'


def test_broken_images_are_listed_and_the_rest_goes_on(resight, experiment, images: Path, tmp_path: Path) -> None:
    names = sorted((images / "images").iterdir())
    names[0].write_bytes(b"")
    names[1].write_bytes(names[1].read_bytes()[:200])
    names[2].write_text("not an image at all")
    names[3].unlink()
    run = tmp_path / "run"
    keep = 'cohort.missing_images="keep"'
    answer = _train(resight, experiment, run, _moved(images), keep)
    assert answer.code == 0, answer.err
    excluded = pd.read_csv(run / "excluded.csv")
    assert set(excluded["image"]) == {f"images/{path.name}" for path in names[:4]}
    assert excluded["reason"].str.len().min() > 10
    report = (run / "report.html").read_text()
    assert all(path.name in report for path in names[:4])
    assert not set(excluded["image"]) & set(pd.read_csv(run / "predictions.csv")["image"])


def test_too_many_broken_images_stop_the_run(resight, experiment, images: Path, tmp_path: Path) -> None:
    for path in sorted((images / "images").iterdir())[::4]:
        path.write_bytes(b"")
    answer = _train(resight, experiment, tmp_path / "run", _moved(images))
    assert answer.code == 4
    assert "cannot be used" in answer.complaint
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_missing_image_is_named_before_anything_is_decoded(resight, experiment, images, tmp_path: Path) -> None:
    gone = sorted((images / "images").iterdir())[5]
    gone.unlink()
    answer = _train(resight, experiment, tmp_path / "run", _moved(images))
    assert answer.code == 4
    assert gone.name in answer.complaint


def test_a_table_of_a_spreadsheet_is_read(resight, images: Path) -> None:
    table = pd.read_csv(images / "cohort.csv")
    table = pd.concat([table, table.iloc[:3]])
    table["remark"] = "fine"
    table.to_csv(images / "cohort.csv", sep=";", encoding="utf-8-sig", index=False)
    answer = resight("data", "inspect", images / "cohort.csv", "--json")
    assert answer.code == 0
    assert answer.json()["whole"]["images"] == 140


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [("Effusion", 1, "different values"), ("Effusion", "perhaps", "perhaps"), ("split", "late", "late")],
)
def test_contradictions_in_a_table(resight, images: Path, column: str, value: object, named: str) -> None:
    table = pd.read_csv(images / "cohort.csv", dtype=object)
    again = table[table["Effusion"] == "0"].iloc[:1].assign(**{column: value})
    pd.concat([table, again]).to_csv(images / "cohort.csv", index=False)
    labels = ("--labels", "Effusion", "Cardiomegaly")
    answer = resight("data", "inspect", images / "cohort.csv", *labels)
    assert answer.code == 4
    assert named in answer.complaint


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_label_of_one_class_in_a_split(resight, experiment, images: Path, tmp_path: Path, part: str) -> None:
    table = pd.read_csv(images / "cohort.csv")
    table.loc[table["split"] == part, "Effusion"] = 0
    table.to_csv(images / "cohort.csv", index=False)
    answer = _train(resight, experiment, tmp_path / "run", _moved(images))
    assert answer.code == 0, answer.err
    assert resight("verify", tmp_path / "run").code == 0
    if part == "test":
        assert "not estimable" in answer.out
    for column in ("probability", "score"):
        test = pd.read_csv(tmp_path / "run" / "predictions.csv").query("split == 'test'")
        assert test[column].between(0, 1).all()


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("\n[training]\nepochz = 3\n", 5, "epochs"),
        ("\n[training]\nepochs = -3\n", 5, "greater than 0"),
        ("\n[model.backbone]\nname = 'resnet'\ndepht = 18\n", 6, "depth"),
        ("\n[model.backbone]\nname = 'resnot'\n", 5, "resnet"),
        ("\n[model.head]\ndropout = 3.0\n", 5, "less than 1"),
        ("\n[training.loss]\nname = 'focus'\n", 5, "focal"),
        ("\n[trainig]\nepochs = 3\n", 4, "training"),
        ("folds = 1\n", 0, "folds"),
        ("epochs = = 3\n", 0, "line 3"),
    ],
)
def test_settings_that_are_wrong(resight, phantom: Path, tmp_path: Path, text: str, line: int, hint: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'# a comment\ncohort.path = "{phantom / "cohort.csv"}"\n{text}')
    answer = resight("train", path, "--out", tmp_path / "run")
    assert answer.code == 3
    assert hint in answer.complaint
    assert (f"{path}:{line}: " if line else str(path)) in answer.complaint
    assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_override_is_blamed_for_itself(resight, experiment: Path, tmp_path: Path) -> None:
    for override, hint in (("training.epochs=-1", "--set"), ("training.epoch=1", "epochs"), ("training", "--set")):
        answer = resight("train", experiment, "--out", tmp_path / "run", "--set", override)
        assert (answer.code, answer.complaint.count(hint) > 0) == (3, True), answer.err
        assert "--set: " in answer.complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ("trian", "x"),
        ("train",),
        ("train", "x.toml", "--out", "y", "--epochs", "3"),
        ("evaluate", "--bootstrap", "many"),
    ],
)
def test_wrong_usage(resight, arguments: tuple[str, ...]) -> None:
    answer = resight(*arguments)
    assert answer.code == 2
    assert answer.complaint.startswith("usage: ")
    assert answer.out == ""


def test_bundles_that_are_none(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    image = next((phantom / "images").iterdir())
    assert resight("predict", tmp_path, image).code == 5
    assert resight("predict", tmp_path / "nowhere", image).code == 5
    copy = shutil.copytree(run_folder / "bundle", tmp_path / "bundle")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    answer = resight("predict", copy, image)
    assert (answer.code, "was changed" in answer.complaint) == (5, True)
    assert resight("predict", run_folder, tmp_path / "no.png").code == 4
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    both = resight("predict", run_folder, image, empty, "--out", tmp_path / "p.csv")
    assert both.code == 0
    assert pd.read_csv(tmp_path / "p.csv")["error"].notna().sum() == 2
    assert resight("predict", run_folder, empty).code == 4


def test_outputs_are_never_overwritten_by_accident(resight, run_folder, experiment, phantom, tmp_path: Path) -> None:
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    table = phantom / "cohort.csv"
    for command in (
        ("predict", run_folder, phantom / "images", "--out", taken),
        ("evaluate", run_folder / "predictions.csv", "--out", taken),
        ("data", "import", table, "--out", taken),
        ("data", "split", table, "--out", taken),
        ("data", "datasheet", table, "--out", taken),
        ("data", "phantom", phantom),
        ("train", experiment, "--out", taken),
    ):
        answer = resight(*command)
        assert answer.code == 7, command
        assert "--force" in answer.complaint
    assert taken.read_text() == "mine"


def test_force_does_not_remove_somebodys_folder(resight, experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("dear")
    answer = resight("train", experiment, "--out", tmp_path, "--force")
    assert answer.code == 7
    assert (tmp_path / "holiday.jpg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_places_that_cannot_be_written(resight, run_folder: Path, experiment, phantom: Path, tmp_path: Path) -> None:
    table = phantom / "cohort.csv"
    blocked = tmp_path / "file"
    blocked.write_text("")
    for command in (
        ("predict", run_folder, phantom / "images", "--out", "/dev/full"),
        ("evaluate", run_folder / "predictions.csv", "--bootstrap", 0, "--out", "/dev/full"),
        ("data", "import", table, "--out", blocked / "x.csv"),
        ("data", "phantom", blocked / "x"),
        ("train", experiment, "--out", blocked / "run"),
    ):
        answer = resight(*command)
        assert answer.code == 7, (command, answer.err)
        assert answer.complaint.startswith("OutputError: ")


def test_a_worker_that_dies(resight, experiment: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("resight.preprocess.store_worker._START", "import os; os._exit(9)")
    answer = _train(resight, experiment, tmp_path / "run", "store.workers=2")
    assert (answer.code, "died" in answer.complaint) == (7, True)
    assert [path.name for path in (tmp_path / "run" / "store").iterdir()] == ["lock"]
