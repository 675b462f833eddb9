from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from resight.cohorts import CohortOptions, load_cohort
from resight.errors import CohortError
from resight.types import Cohort


def load(path: Path, **options: object) -> Cohort:
    return load_cohort(CohortOptions.model_validate({"path": path, **options}))


def test_folder_of_two_classes_is_binary_with_the_finding_positive(pictures):
    cohort = load(pictures("NORMAL/b.png", "PNEUMONIA/a.png", "PNEUMONIA/c.png"))
    assert (cohort.labels, cohort.task) == (("PNEUMONIA",), "binary")
    assert cohort.table["image"].tolist() == ["NORMAL/b.png", "PNEUMONIA/a.png", "PNEUMONIA/c.png"]
    assert cohort.targets()[:, 0].tolist() == [0, 1, 1]
    assert "patient_id" not in cohort.table
    assert all(path.is_file() for path in cohort.paths)


def test_folder_with_parts_on_top_gets_a_split(pictures):
    cohort = load(pictures("train/a/1.png", "train/b/2.png", "Val/c/3.png", "testing/a/4.png"))
    assert cohort.table["split"].tolist() == ["validation", "test", "train", "train"]
    assert cohort.labels == ("a", "b", "c")
    assert cohort.task == "multiclass"
    assert cohort.targets().sum(axis=1).tolist() == [1, 1, 1, 1]


def test_patients_are_taken_from_file_names(pictures):
    cohort = load(pictures("sick/p01_1.png", "sick/p01_2.png", "well/p02_1.png"), patient_pattern=r"(p\d+)_")
    assert cohort.table["patient_id"].tolist() == ["p01", "p01", "p02"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("p\\d+", "no group"), ("(", "not a regular expression"), ("(x)", "does not match 2 images")],
)
def test_patient_pattern_that_cannot_work(pictures, pattern, message):
    with pytest.raises(CohortError, match=message):
        load(pictures("sick/p1.png", "well/p2.png"), patient_pattern=pattern)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["only/a.png", "only/b.png"], "one class only: only"),
        (["sick/a.png", "well/b.png", "stray.png"], "1 images are in no class folder .*stray.png"),
        ([], "no images below this folder"),
    ],
)
def test_folder_that_is_no_cohort(pictures, names, message):
    with pytest.raises(CohortError, match=message):
        load(pictures(*names))


def test_folder_with_one_table_is_read_through_it(pictures, table_of):
    folder = pictures("images/a.png", "images/b.png")
    table_of("file,Patient ID,label\na.png,007,sick\nb.png,008,well\n")
    cohort = load(folder)
    assert cohort.root == folder / "images"
    assert cohort.table["patient_id"].tolist() == ["007", "008"]
    assert any("Patient ID = patient_id" in note for note in cohort.notes)


def test_a_table_called_cohort_comes_before_other_tables_and_folders(pictures, table_of):
    folder = pictures("images/a.png", "images/b.png", "masks/a.png")
    table_of("image,X\nimages/a.png,1\nimages/b.png,0\n", "cohort.csv")
    table_of("nothing\n1\n", "truth.csv")
    assert load(folder).labels == ("X",)


def test_one_image_under_two_names_is_one_row(pictures, table_of):
    pictures("deep/a.png", "b.png")
    assert len(load(table_of("image,X\na,1\na.png,1\nb.png,0\n"))) == 2
    with pytest.raises(CohortError, match=r"deep/a\.png, X 1.0 and 0.0"):
        load(table_of("image,X\na,1\na.png,0\nb.png,0\n"))


def test_images_are_found_by_name_and_by_stem_where_the_table_is_vague(pictures, table_of):
    pictures("deep/one/a.png", "deep/two/b.png", "c.png")
    cohort = load(table_of("image_id,X\na,1\nb.png,0\nc,0\n"))
    assert cohort.table["image"].tolist() == ["deep/one/a.png", "deep/two/b.png", "c.png"]
    assert any("3 images were found" in note for note in cohort.notes)


def test_an_ambiguous_name_is_not_guessed(pictures, table_of):
    pictures("one/a.png", "two/a.png", "b.png")
    with pytest.raises(CohortError, match=r"1 of 2 listed images are not there: a\.png"):
        load(table_of("image,X\na.png,1\nb.png,0\n"))


def test_absent_images_are_counted_and_named(pictures, table_of):
    pictures("a.png", "e.png")
    path = table_of("image,X\na.png,1\nb.png,0\nc.png,0\nd.png,1\nf.png,1\ne.png,0\n")
    with pytest.raises(CohortError, match=r"4 of 6 listed images are not there: b.png, c.png, d.png, \.\.\."):
        load(path)
    dropped = load(path, missing_images="drop")
    assert dropped.table["image"].tolist() == ["a.png", "e.png"]
    assert any("4 of 6 listed images" in note for note in dropped.notes)
    assert len(load(path, missing_images="keep")) == 6


def test_byte_order_mark_semicolons_and_leading_zeros(pictures, tmp_path):
    pictures("a.png", "b.png")
    path = tmp_path / "t.csv"
    path.write_bytes("﻿Image Index;PatientID;Patient Age;Gender;X\na.png;0012;058Y;male;1\nb.png;3;412;F;0\n".encode())
    table = load(path).table
    assert table["patient_id"].tolist() == ["0012", "3"]
    assert table["age"].iloc[0] == 58
    assert pd.isna(table["age"].iloc[1])
    assert table["sex"].tolist() == ["M", "F"]


def test_parquet_reads_like_csv(pictures, tmp_path):
    pictures("a.png", "b.png")
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": [1.0, None], "X": [1, 0]})
    table.to_parquet(tmp_path / "t.parquet")
    cohort = load(tmp_path / "t.parquet")
    assert cohort.table["patient_id"].tolist() == ["1", ""]
    assert any("1 images have no patient id" in note for note in cohort.notes)


def test_repeated_rows_are_dropped_and_conflicting_ones_refused(pictures, table_of):
    pictures("a.png", "b.png")
    cohort = load(table_of("image,X\na.png,1\nb.png,0\na.png,1\n"))
    assert len(cohort) == 2
    assert any("1 rows repeat an image" in note for note in cohort.notes)
    with pytest.raises(CohortError, match=r"different values \(first: a.png, X 1.0 and 0.0\)"):
        load(table_of("image,X\na.png,1\nb.png,0\na.png,0\n"))
    with pytest.raises(CohortError, match=r"first: a.png, patient_id 1 and 2"):
        load(table_of("image,patient_id,X\na.png,1,1\nb.png,9,0\na.png,2,1\n"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("image,X\n", {}, "the table has no rows"),
        ("name,X\na.png,1\n", {}, "no column with image names"),
        ("image,X\na.png,1\n,0\n", {}, r"1 rows name no image \(the first is data row 2\)"),
        ("image,X\na.png,1\n", {"patient_column": "patiant"}, "no column 'patiant'"),
        ("image,Effusion\na.png,1\n", {"labels": ["Efusion"]}, "Did you mean 'Effusion'"),
        ("image,X\na.png,1\n", {"label_column": "Y"}, "no column 'Y'"),
        ("image,age\na.png,50\n", {}, "no labels were recognised"),
        ("image,X\na.png,1\nb.png,maybe\n", {"labels": ["X"]}, "'maybe' in data row 2 is not a label"),
        ("image,X\na.png,1\nb.png,1\n", {"labels": ["X"]}, "one class only: every known label is positive"),
        ("image,X\na.png,\nb.png,\n", {"labels": ["X"]}, "one class only"),
        ("image,split,X\na.png,train,1\nb.png,later,0\n", {}, "1 rows have the split 'later'"),
        ("image,label\na.png,x\nb.png,\n", {}, "one class only: x"),
        ("image,label\na.png,x\nb.png,y\n", {"positive": "z"}, "no image has the label 'z'"),
        ("image,label\na.png,x\nb.png,y\nc.png,z\n", {"labels": ["x", "y"]}, "1 rows have the class 'z'"),
        ("image,label\na.png,x\nb.png,y\n", {"task": "multilabel"}, "the labels are binary; expected multilabel"),
        ("image,A,B\na.png,1,1\nb.png,0,1\nc.png,0,0\n", {"task": "multiclass"}, "exactly one 1"),
        ("image,label\na.png,split\nb.png,image\nc.png,z\n", {}, "a label cannot be called 'image'"),
    ],
)
def test_a_table_that_cannot_be_used_says_why_in_one_line(
    pictures: Callable[..., Path], table_of: Callable[[str], Path], text: str, options: dict[str, object], message: str
):
    pictures("a.png", "b.png", "c.png")
    with pytest.raises(CohortError, match=message) as caught:
        load(table_of(text), **options)
    assert "\n" not in str(caught.value)
    assert "table.csv" in str(caught.value)


def test_an_image_is_no_cohort(pictures, tmp_path):
    pictures("a.png")
    with pytest.raises(CohortError, match=r"a.png: an image; expected a table, or a folder"):
        load(tmp_path / "a.png")


def test_what_is_not_there(tmp_path):
    with pytest.raises(CohortError, match="no such file or folder"):
        load(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("name", "rows", "labels", "task"),
    [
        ("cxr_pneumonia_kermany", 803, ("PNEUMONIA",), "binary"),
        ("brain_mri_tumour_nickparvar", 900, ("glioma", "meningioma", "notumor", "pituitary"), "multiclass"),
        ("derm_isic2017", 2750, ("melanoma", "nevus", "seborrheic_keratosis"), "multiclass"),
    ],
)
def test_real_tables_need_no_settings(real_data, name, rows, labels, task):
    cohort = load(real_data(name))
    assert (len(cohort), cohort.labels, cohort.task) == (rows, labels, task)
    assert all(path.is_file() for path in cohort.paths)


def test_the_withheld_labels_of_isic2017_are_masked(real_data):
    cohort = load(real_data("derm_isic2017"), labels=["melanoma", "seborrheic_keratosis"])
    assert cohort.task == "multilabel"
    assert (~cohort.part("test").mask()).all()
    assert cohort.part("train").mask().all()
    assert cohort.part("train").targets().sum(axis=0).tolist() == [374, 254]


def test_finding_list_and_label_columns_of_chestxray14_agree(real_data):
    folder = real_data("cxr_nih14_1000")
    columns, lists = load(folder), load(folder, label_column="finding_labels")
    assert columns.task == lists.task == "multilabel"
    pd.testing.assert_frame_equal(
        columns.table[list(columns.labels)], lists.table[list(columns.labels)], check_names=False
    )
