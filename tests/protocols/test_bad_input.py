"""What is wrong with a study's data or weights is said in one line, as its user sees it, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resight.backbones import build_backbone
from resight.cli.main import main
from resight.cohorts import load_chestxray14, load_isic2017
from resight.cohorts.chestxray14 import LABELS
from resight.preprocess import Recipe
from resight.protocols.brain_data import load_images
from resight.types import silent

BRAIN = "file,abnormal\n" + "".join(f"images/{n}.png,{n % 2}\n" for n in range(8))
SKIN = "file,split,melanoma,seborrheic_keratosis,sex\n" + "".join(
    f"images/{n}.png,{('train', 'validation', 'test')[n % 3]},{n % 2},0,male\n" for n in range(9)
)
CHEST = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA\n00000002_000.png,No Finding,0,2,50,F,AP\n"
)


def folder(path: Path, index: str, images: int) -> Path:
    """A folder with `index.csv` and its first images."""
    (path / "images").mkdir(parents=True)
    (path / "index.csv").write_text(index)
    for number in range(images):
        rng = np.random.default_rng(number)
        cv2.imwrite(str(path / "images" / f"{number}.png"), rng.integers(0, 255, (32, 32), dtype=np.uint8))
    return path


def brain(path: Path) -> Path:
    return folder(path, BRAIN, 8)


def skin(path: Path) -> Path:
    return folder(path, SKIN, 9)


def chest(path: Path) -> Path:
    path.mkdir()
    (path / "Data_Entry_2017_v2020.csv").write_text(CHEST)
    (path / "train_val_list.txt").write_text("00000001_000.png")
    (path / "test_list.txt").write_text("00000002_000.png")
    return path


def changed(make: Callable[[Path], Path], file: str, old: str, new: str) -> Callable[[Path], Path]:
    """The same folder with another text in one of its files."""

    def build(path: Path) -> Path:
        table = make(path) / file
        text = table.read_text()
        assert old in text
        table.write_text(text.replace(old, new))
        return path

    return build


def lacking(make: Callable[[Path], Path], *names: str) -> Callable[[Path], Path]:
    """The same folder without some files."""

    def build(path: Path) -> Path:
        for name in names:
            (make(path) if not path.exists() else path).joinpath(name).unlink()
        return path

    return build


def empty(path: Path) -> Path:
    path.mkdir()
    return path


TABLE = "Data_Entry_2017_v2020.csv"


@pytest.mark.parametrize(
    ("study", "build", "words"),
    [
        ("brain", empty, r"no index\.csv here.*Nickparvar"),
        ("isic2017", empty, r"not the data of ISIC-2017.*published by the ISIC Archive"),
        ("chestxray14", empty, r"train_val_list\.txt, test_list\.txt not there.*NIH Clinical Center"),
        ("degradation", empty, "no images below this folder"),
        ("brain", skin, "no column 'abnormal'; expected file and abnormal"),
        ("isic2017", brain, "no column 'split'; expected a table of ISIC-2017"),
        ("chestxray14", brain, r"Data_Entry_2017_v2020\.csv or Data_Entry_2017\.csv"),
        ("brain", lacking(brain, "images/3.png"), r"1 of 8 images are not there \(images/3\.png\).*images=present"),
        ("isic2017", lacking(skin, "images/3.png"), r"1 of 9 images are not there \(images/3\.png\).*images=present"),
        ("chestxray14", chest, "images are not there.*images=none"),
        ("brain", changed(brain, "index.csv", "file,abnormal", "abnormal,abnormal"), "'abnormal' is there 2 times"),
        ("isic2017", changed(skin, "index.csv", ",sex", ",split"), "'split' is there 2 times"),
        ("chestxray14", changed(chest, TABLE, "Follow-up #", "Patient ID"), "'Patient ID' is there 2 times"),
        ("brain", changed(brain, "index.csv", "abnormal", "abnormality"), "no column 'abnormal'"),
        ("isic2017", changed(skin, "index.csv", "melanoma", "melanomas"), "no column 'melanoma'.*'melanomas'"),
        ("chestxray14", changed(chest, TABLE, "Finding Labels", "Findings"), "no column 'Finding Labels'.*'Findings'"),
        ("isic2017", changed(skin, "index.csv", "images/3.png", "images/0.png"), r"images/0\.png is listed twice"),
        ("chestxray14", changed(chest, TABLE, "00000002_000", "00000001_000"), r"00000001_000\.png is listed twice"),
        ("chestxray14", changed(chest, "test_list.txt", "2_000", "1_000"), "images are in (two lists|no list)"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_one_line(
    study: str, build: Callable[[Path], Path], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = build(tmp_path / "data")
    assert main(["reproduce", study, "--data", str(data), "--out", str(tmp_path / "out")]) == 4
    error = [line for line in capsys.readouterr().err.splitlines() if "Error: " in line]
    assert len(error) == 1
    assert re.search(words, error[0]), error[0]
    assert str(data) in error[0]


def test_a_cohort_nobody_can_split_names_the_option_of_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder(tmp_path / "data", BRAIN.replace("abnormal", "label"), 8)
    assert main(["reproduce", "degradation", "--data", str(data), "--out", str(tmp_path / "out")]) == 4
    assert (
        '--option group=["COLUMN"] names the column of the patients, group=["none"] splits' in capsys.readouterr().err
    )


def test_part_of_the_images_is_enough_where_that_is_said(tmp_path: Path) -> None:
    some = lacking(brain, "images/3.png", "images/4.png")(tmp_path / "brain")
    images = load_images(some, Recipe(size_px=(16, 16)), tmp_path / "out", silent, "present")
    assert len(images.cohort) == 6
    assert any("2 of 8 images are not there" in note for note in images.cohort.notes)
    lesions = load_isic2017(lacking(skin, "images/3.png")(tmp_path / "skin"), missing_images="drop")
    assert len(lesions) == 8
    assert any("1 of 9 images are not there" in note for note in lesions.notes)


def test_the_edition_of_the_labels_is_named_whatever_the_lists(tmp_path: Path) -> None:
    """Both editions have the same images, so that lists of 2020 fit labels of 2017: only the name tells them apart."""
    data = chest(tmp_path / "data")
    (data / TABLE).rename(data / "Data_Entry_2017.csv")
    assert load_chestxray14(data).notes[0] == "Labels are those of Data_Entry_2017.csv."


def test_a_short_table_that_lacks_a_finding_has_no_positives_of_it(tmp_path: Path) -> None:
    cohort = load_chestxray14(chest(tmp_path / "data"))
    np.testing.assert_array_equal(cohort.targets(), [[float(label == "Cardiomegaly") for label in LABELS], [0.0] * 14])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights that must not be used."""
    at = tmp_path_factory.mktemp("weights")
    (at / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 torn")
    (at / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    save_file(build_backbone("resnet", depth=34).state_dict(), at / "deeper.safetensors")
    state = build_backbone("resnet", depth=18).state_dict()
    torch.save({"state_dict": state, "arguments": Path("x")}, at / "pickled.pth")
    return {name: at / name for name in ("torn.safetensors", "torn.pth", "deeper.safetensors", "pickled.pth", "none")}


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("torn.safetensors", 5, "torn.safetensors: "),
        ("torn.pth", 5, "torn.pth: "),
        ("deeper.safetensors", 3, "depth"),
        ("pickled.pth", 5, "more than tensors"),
        ("none", 5, "No such file"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        ("brain", "weights={}"),
        ("brain", "start={}"),
        ("chestxray14", 'weights={{"resnet-18" = "{}"}}', 'models=["resnet-18"]'),
    ],
    ids=["brain-frozen", "brain-start", "chestxray14"],
)
def test_weights_that_do_not_fit_are_refused_before_anything_else(
    options: tuple[str, ...],
    name: str,
    code: int,
    words: str,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, *given = options
    asked = [part for option in given for part in ("--option", option.format(files[name]))]
    command = ["reproduce", study, "--data", str(tmp_path / "absent"), "--out", str(tmp_path / "out"), *asked]
    assert main(command) == code
    error = [line for line in capsys.readouterr().err.splitlines() if "Error: " in line]
    assert len(error) == 1
    assert words in error[0]


def test_weights_of_a_model_that_is_not_trained_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--option", 'weights={"resnet-51" = "x"}', "--option", 'models=["resnet-50"]']
    assert main(["reproduce", "chestxray14", "--data", str(tmp_path), "--out", str(tmp_path / "o"), *asked]) == 3
    assert "'resnet-51', which is not trained. Did you mean 'resnet-50'?" in capsys.readouterr().err
