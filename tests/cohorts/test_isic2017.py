"""ISIC-2017 in the challenge's layout, drawn here, and as one table beside real images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.cohorts import ISIC_LABELS, load_isic2017
from resight.errors import CohortError

IMAGES = {"Training": ["ISIC_0000000", "ISIC_0000001", "ISIC_0000002"], "Test_v2": ["ISIC_0012086"]}


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    for part, names in IMAGES.items():
        folder = tmp_path / f"ISIC-2017_{part}_Data"
        folder.mkdir()
        for name in names:
            (folder / f"{name}.jpg").touch()
            (folder / f"{name}_superpixels.png").touch()
    truth = "image_id,melanoma,seborrheic_keratosis\nISIC_0000002,0.0,1.0\nISIC_0000000,0.0,0.0\nISIC_0000001,1.0,0.0\n"
    (tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv").write_text(truth)
    described = (
        "image_id,age_approximate,sex\nISIC_0000000,55,female\nISIC_0000001,unknown,unknown\nISIC_0000002,30,male\n"
    )
    (tmp_path / "ISIC-2017_Training_Data" / "ISIC-2017_Training_Data_metadata.csv").write_text(described)
    return tmp_path


def test_the_layout_of_the_challenge(challenge: Path) -> None:
    cohort = load_isic2017(challenge)
    table = cohort.table.set_index(cohort.table["image"].map(lambda name: Path(name).stem))
    assert cohort.labels == ISIC_LABELS
    assert cohort.task == "multiclass"
    assert len(cohort) == 4
    assert all(path.is_file() for path in cohort.paths)
    assert table["split"].value_counts().to_dict() == {"train": 3, "test": 1}
    assert table.loc["ISIC_0000000", list(ISIC_LABELS)].tolist() == [0, 0, 1]
    assert table.loc["ISIC_0000001", list(ISIC_LABELS)].tolist() == [1, 0, 0]
    assert table.loc["ISIC_0000002", list(ISIC_LABELS)].tolist() == [0, 1, 0]
    assert not cohort.mask()[table["split"] == "test"].any()
    assert table.loc["ISIC_0000000", ["age", "sex"]].tolist() == [55, "female"]
    assert table.loc[["ISIC_0000001", "ISIC_0012086"], ["age", "sex"]].isna().all(axis=None)
    assert "1 images have no published label." in cohort.notes
    assert "patient_id" not in table


def test_labels_of_the_test_part_are_read_where_they_are(challenge: Path) -> None:
    truth = "image_id,melanoma,seborrheic_keratosis\nISIC_0012086,1.0,0.0\n"
    (challenge / "ISIC-2017_Test_v2_Part3_GroundTruth.csv").write_text(truth)
    assert load_isic2017(challenge).part("test").targets().tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ISIC_0000000,1.0,1.0", "of two classes"),
        ("ISIC_0000000,0.5,0.0", "something else than 0 and 1"),
        ("ISIC_0000009,0.0,0.0", "2 images have a label or a file only"),
        ("ISIC_0000001,0.0,0.0", "listed twice"),
    ],
)
def test_labels_that_cannot_be(challenge: Path, line: str, message: str) -> None:
    path = challenge / "ISIC-2017_Training_Part3_GroundTruth.csv"
    path.write_text(path.read_text().replace("ISIC_0000000,0.0,0.0", line))
    with pytest.raises(CohortError, match=message):
        load_isic2017(challenge)


def test_what_is_missing_is_named(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(CohortError, match=r"index\.csv, or ISIC-2017_Training_Data"):
        load_isic2017(tmp_path_factory.mktemp("empty"))
    (challenge / "ISIC-2017_Training_Part3_GroundTruth.csv").unlink()
    with pytest.raises(CohortError, match=r"ISIC-2017_Training_Part3_GroundTruth\.csv: no such file"):
        load_isic2017(challenge)


def index(folder: Path, **changed: object) -> Path:
    (folder / "a.jpg").touch()
    row = {"file": "a.jpg", "split": "val", "melanoma": 0, "seborrheic_keratosis": 1, "sex": "male"}
    pd.DataFrame([row | changed]).to_csv(folder / "index.csv", index=False)
    return folder


def test_one_table_without_ages(tmp_path: Path) -> None:
    cohort = load_isic2017(index(tmp_path))
    assert cohort.table["split"].tolist() == ["validation"]
    assert np.isnan(cohort.table["age"]).all()
    assert cohort.targets().tolist() == [[0, 1, 0]]


def test_one_table_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="split 'held out'"):
        load_isic2017(index(tmp_path, split="held out"))
    with pytest.raises(CohortError, match=r"1 of 1 images are not there \(b\.jpg\)"):
        load_isic2017(index(tmp_path, file="b.jpg"))
    (tmp_path / "index.csv").write_text("file,split,mel\na.jpg,train,1\n")
    with pytest.raises(CohortError, match="no column 'melanoma'"):
        load_isic2017(tmp_path)


def test_the_real_cohort(real_data: Callable[[str], Path]) -> None:
    cohort = load_isic2017(real_data("derm_isic2017"))
    counts = cohort.table.groupby("split")[list(ISIC_LABELS)].sum()
    assert counts.loc["train"].tolist() == [374, 254, 1372]
    assert counts.loc["validation"].tolist() == [30, 42, 78]
    assert len(cohort.part("test")) == 600
    assert int(cohort.part("train").table["age"].notna().sum()) == 1744
    assert int(cohort.part("test").table["sex"].notna().sum()) == 573
