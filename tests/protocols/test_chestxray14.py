"""The ChestX-ray14 study: missing files are named, splits never mix, and the label table gives its known figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cli.main import main
from resight.cohorts.chestxray14 import LABELS
from resight.errors import CohortError, SettingsError
from resight.predictions import Predictions
from resight.protocols import PROTOCOLS, Surroundings
from resight.protocols.chestxray14_boxes import _reference, _scores
from resight.protocols.chestxray14_data import ARCHIVES, find_boxes, load_images, load_tables
from resight.protocols.chestxray14_labels import COLUMN_SETS, fuse_metadata, judge_labels, rate_scores
from resight.protocols.chestxray14_published import LABELS_OFFICIAL, LABELS_RANDOM, MEAN_OFFICIAL, MEAN_RANDOM, REVIEW
from resight.types import Cohort

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
ROW = "{:08d}_000.png,{},0,{},50,M,{},2500,2048,0.168,0.168,\n"
PATIENTS = 12


def release(folder: Path, *, edition: str = "Data_Entry_2017_v2020.csv", lists: bool = True) -> Path:
    """A release of twelve patients, one image each, without images."""
    folder.mkdir(exist_ok=True)
    found = ["|".join(LABELS) if i % 2 else "No Finding" for i in range(PATIENTS)]
    rows = [ROW.format(i, found[i], i, "AP" if i % 3 else "PA") for i in range(PATIENTS)]
    (folder / edition).write_text(HEADER + "".join(rows))
    names = [f"{i:08d}_000.png" for i in range(PATIENTS)]
    if lists:
        (folder / "train_val_list.txt").write_text("\n".join(names[:8]))
        (folder / "test_list.txt").write_text("\n".join(names[8:]))
    return folder


def add_images(folder: Path, count: int) -> None:
    inside = folder / ARCHIVES[0] / "images"
    inside.mkdir(parents=True)
    for number in range(count):
        (inside / f"{number:08d}_000.png").write_bytes(b"")


def test_missing_tables_and_lists_are_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"Data_Entry_2017_v2020\.csv or Data_Entry_2017\.csv.*NIH Clinical Center"):
        load_tables(tmp_path, needs_lists=False)
    release(tmp_path, lists=False)
    with pytest.raises(CohortError, match=r"train_val_list\.txt, test_list\.txt not there.*resampled"):
        load_tables(tmp_path, needs_lists=True)
    assert len(load_tables(tmp_path, needs_lists=False)) == PATIENTS
    assert find_boxes(tmp_path) is None


def test_missing_images_are_counted_and_part_of_them_can_be_used(tmp_path: Path) -> None:
    folder = release(tmp_path)
    with pytest.raises(CohortError, match="images=none"):
        load_images(folder, folder, "present")
    add_images(folder, 10)
    with pytest.raises(CohortError, match=r"2 of 12 images.*no folder images_002.*images=present"):
        load_images(folder, folder, "all")
    some = load_images(folder, folder, "present")
    assert some is not None
    assert len(some) == 10
    assert load_images(folder, folder, "none") is None


def test_the_edition_of_2017_is_recorded(tmp_path: Path) -> None:
    folder = release(tmp_path / "data", edition="Data_Entry_2017.csv")
    surroundings = Surroundings(data=folder, out=tmp_path / "out")
    study = PROTOCOLS.build("chestxray14", {"images": "none", "bootstrap": 20}, surroundings=surroundings)
    assert "Data_Entry_2017.csv" in study.record["label table"]
    assert any("edition of 2017" in sentence for sentence in study.conclusions)
    assert any("No image was looked at" in sentence for sentence in study.conclusions)


def test_an_unknown_model_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="resent"):
        PROTOCOLS.build("chestxray14", {"models": ["resent-18"]}, surroundings=Surroundings(tmp_path, tmp_path))


def test_published_means_agree_with_their_labels() -> None:
    means = [float(np.mean([float(f.text) for f in figures.values()])) for figures in LABELS_OFFICIAL + LABELS_RANDOM]
    assert means == pytest.approx([0.745, 0.807, 0.806, 0.738, 0.841], abs=0.001)
    assert all(figure.certainty == "review only" for _, figure in REVIEW)
    assert not {figure for _, figure in MEAN_OFFICIAL} & {figure for _, figure in MEAN_RANDOM}


def test_rates_are_counted_on_training_rows_only() -> None:
    table = pd.DataFrame(
        {"age": [5, 7, 8, 95], "sex": "M", "view": ["AP", "AP", "PA", "AP"], "a": [1.0, 0.0, 0.0, 1.0]}
    )
    cohort = Cohort(table, ("a",), "binary", Path(), "c")
    fitted_on = np.array([True, True, True, False])
    assert rate_scores(cohort, fitted_on, ("view",))[:, 0].tolist() == [0.5, 0.5, 0.0, 0.5]
    unseen = rate_scores(cohort, fitted_on, ("view", "decade"))[3, 0]
    assert unseen == pytest.approx(1 / 3)


def test_fusion_finds_what_the_image_score_misses(rng: np.random.Generator) -> None:
    count = 400
    images = pd.DataFrame(
        {
            "image": [str(i) for i in range(count)],
            "patient_id": [str(i) for i in range(count)],
            "split": np.where(np.arange(count) < 200, "validation", "test"),
            "age": 50.0,
            "sex": "M",
            "view": rng.choice(["AP", "PA"], count),
        }
    )
    target = (images["view"] == "AP").to_numpy(dtype=np.float64)[:, None]
    logit = rng.normal(size=(count, 1))
    predictions = Predictions.from_arrays(images, ("a",), "binary", logit=logit, score=logit, target=target)
    value, fused = fuse_metadata(predictions, bootstrap=20)
    assert (value.value, fused) == (pytest.approx(1.0), 1)


def test_a_map_on_the_box_hits_and_one_beside_it_does_not() -> None:
    box = pd.Series({"x_px": 512.0, "y_px": 0.0, "width_px": 256.0, "height_px": 512.0})
    reference = _reference(box, (64, 64))
    assert (reference.sum(), reference[:32, 32:48].all()) == (32 * 16, True)
    beside = np.roll(reference, -32, axis=1)
    maps = np.stack([reference, beside]).astype(np.float32)
    scores = _scores(maps, np.stack([reference, reference]), np.array(["a", "b"]))
    assert (scores.boxes, scores.pointing.value, scores.iou[0.5].value, scores.iobb[0.1].value) == (2, 0.5, 0.5, 0.5)
    assert scores.empty == 0
    assert _scores(np.zeros_like(maps), np.stack([reference, reference]), np.array(["a", "b"])).empty == 2
    assert scores.centre.value == 1.0  # the middle of the image touches this box within the tolerance
    dot = pd.Series({"x_px": 3.0, "y_px": 3.0, "width_px": 2.0, "height_px": 2.0})
    assert _reference(dot, (64, 64)).sum() == 1


@pytest.mark.slow
def test_label_table_alone_at_full_size(real_data: Callable[[str], Path]) -> None:
    cohort = load_tables(real_data("chestxray14_metadata"), needs_lists=True)
    known = {"view": 0.575, "view, sex and age": 0.596}
    for name, columns in COLUMN_SETS.items():
        evaluation = judge_labels(cohort, columns, bootstrap=0)
        assert evaluation.images == 25_596
        assert evaluation.macro["auroc"].value == pytest.approx(known[name], abs=0.001)


@pytest.mark.slow
def test_smoke_runs_from_the_command_line(tmp_path: Path) -> None:
    """Drawn images in the published layout; a spot of light where the heart is too large, and a box around it."""
    data, out, rng = tmp_path / "data", tmp_path / "out", np.random.default_rng(0)
    (data / ARCHIVES[0] / "images").mkdir(parents=True)
    rows, boxes, count = [], ["Image Index,Finding Label,Bbox [x,y,w,h],,,"], 80
    for number in range(count):
        name = f"{number:08d}_000.png"
        pixels = rng.integers(0, 120, (64, 64), dtype=np.uint8)
        if number % 2:
            pixels[30:50, 30:50] += 120
            boxes.append(f"{name},Cardiomegaly,480,480,320,320,,,")
        cv2.imwrite(str(data / ARCHIVES[0] / "images" / name), pixels)
        rows.append(ROW.format(number, "Cardiomegaly" if number % 2 else "No Finding", number, "AP"))
    (data / "Data_Entry_2017_v2020.csv").write_text(HEADER + "".join(rows))
    (data / "BBox_List_2017.csv").write_text("\n".join(boxes))
    names = [f"{number:08d}_000.png" for number in range(count)]
    (data / "train_val_list.txt").write_text("\n".join(names[:50]))
    (data / "test_list.txt").write_text("\n".join(names[50:]))
    command = ["reproduce", "chestxray14", "--data", str(data), "--out", str(out), "--smoke"]
    assert main([*command, "--option", 'models=["resnet-18"]']) == 0
    tables = json.loads((out / "study.json").read_text())["tables"]
    for heading, lines in tables.items():
        sources = {figure["source"] for row in lines for figure in row["published"]}
        if "Official" in heading:
            assert not sources & {"CheXNet", "Wang et al. 2017, version 4"}
        if "Random" in heading:
            assert not sources & {"Wang et al. 2017, version 5", "Guendel 2018"}
    by_label = tables["Official split: AUROC, label by label"]
    assert {row["what"] for row in by_label} == set(LABELS)
    assert {"resnet-18", "positives", "Guendel 2018 (remembered)"} <= {row["metric"] for row in by_label}
    (pointed, *_) = tables["Official split: evidence against the radiologists' boxes, box by box"]
    assert (pointed["what"], pointed["metric"]) == ("all (15 boxes): pointing game", "resnet-18")
    (mean, *_) = tables["Random splits by patient: mean AUROC over the labels"]
    assert mean["what"] == "resnet-18"
    assert (out / "runs" / "resnet-18-official" / "report.html").is_file()
