"""Rows with several images: found, named, and blank where a patient lacks one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cohorts import CohortOptions, load_cases, load_clinical, load_cohort
from resight.errors import CohortError

MODALITIES = ("ct", "pet")


def _folder(root: Path, rows: list[tuple[str, str]]) -> Path:
    for name in {name for row in rows for name in row if name and "gone" not in name}:
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), np.full((8, 8), 50, np.uint8))
    table = pd.DataFrame(rows, columns=list(MODALITIES)).assign(finding=[i % 2 for i in range(len(rows))])
    table.to_csv(root / "cohort.csv", index=False)
    return root / "cohort.csv"


def _load(path: Path, **more: object):
    return load_cohort(CohortOptions(path=path, labels=("finding",), modalities=MODALITIES, **more))


def test_rows_are_called_by_their_first_image_and_know_all_of_them(tmp_path: Path) -> None:
    path = _folder(tmp_path, [("ct/1.png", "pet/1.png"), ("ct/2.png", ""), ("", "pet/3.png")])
    cohort = _load(path)
    assert cohort.table["image"].tolist() == ["ct/1.png", "ct/2.png", "pet/3.png"]
    assert cohort.files == [
        (tmp_path / "ct/1.png", tmp_path / "pet/1.png"),
        (tmp_path / "ct/2.png", None),
        (None, tmp_path / "pet/3.png"),
    ]
    assert cohort.attributes == ()
    assert any("1 of 3 rows have no image of 'pet'" in note for note in cohort.notes)
    assert cohort.rows(np.array([True, False, True])).files[1] == (None, tmp_path / "pet/3.png")


def test_a_cohort_of_single_images_is_as_before(tmp_path: Path) -> None:
    path = _folder(tmp_path, [("ct/1.png", ""), ("ct/2.png", "")])
    cohort = load_cohort(CohortOptions(path=path, labels=("finding",), image_column="ct"))
    assert cohort.files == cohort.paths


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("ct/1.png", "pet/1.png"), ("", "")], r"1 rows name no image of any modality \(the first is data row 2\)"),
        ([("ct/1.png", "pet/gone.png"), ("ct/2.png", "")], "1 of 1 images of 'pet' are not there: pet/gone.png"),
    ],
)
def test_rows_without_images(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        _load(_folder(tmp_path, rows))


def test_a_modality_without_a_column(tmp_path: Path) -> None:
    path = _folder(tmp_path, [("ct/1.png", ""), ("ct/2.png", "")])
    with pytest.raises(CohortError, match="no column 'mr' of image names"):
        load_cohort(CohortOptions(path=path, labels=("finding",), modalities=("ct", "mr")))


def test_lost_files_count_as_missing_where_that_is_asked_for(tmp_path: Path) -> None:
    path = _folder(tmp_path, [("ct/1.png", "pet/gone.png"), ("ct/2.png", "")])
    assert _load(path, missing_images="keep").files[0] == (tmp_path / "ct/1.png", None)


def test_cases_at_prediction_time(tmp_path: Path) -> None:
    table, cases = load_cases(_folder(tmp_path, [("ct/1.png", ""), ("ct/2.png", "pet/2.png")]), MODALITIES)
    assert cases[0] == {"ct": tmp_path / "ct/1.png", "pet": None}
    assert table["image"].tolist() == [str(tmp_path / "ct/1.png"), str(tmp_path / "ct/2.png")]


def test_a_clinical_table_is_read_as_a_cohort_is(tmp_path: Path) -> None:
    path = tmp_path / "clinical.csv"
    path.write_text("filename,Patient Age,gender\na.png,041Y,male\n", encoding="utf-8")
    table = load_clinical(path)
    assert table.to_dict("records") == [{"image": "a.png", "age": 41.0, "sex": "M"}]
