"""Counts are those of the public files (edition v2020), as listed by NIH and recounted."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys

import pytest

from resight.cohorts import LeakOptions, inspect_cohort, leakcheck, load_boxes, load_chestxray14
from resight.cohorts.chestxray14 import GRID_PX, LABELS
from resight.errors import CohortError, LeakError
from resight.types import Cohort

POSITIVES = {  # label: (train_val, test)
    "Infiltration": (13782, 6112),
    "Effusion": (8659, 4658),
    "Atelectasis": (8280, 3279),
    "Nodule": (4708, 1623),
    "Mass": (4034, 1748),
    "Pneumothorax": (2637, 2665),
    "Consolidation": (2852, 1815),
    "Pleural_Thickening": (2242, 1143),
    "Cardiomegaly": (1707, 1069),
    "Emphysema": (1423, 1093),
    "Edema": (1378, 925),
    "Fibrosis": (1251, 435),
    "Pneumonia": (876, 555),
    "Hernia": (141, 86),
}
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)


@pytest.fixture(scope="module")
def full(real_data) -> Cohort:
    return load_chestxray14(real_data("chestxray14_metadata"))


def test_counts_of_the_official_split(full):
    assert len(full) == 112_120
    assert (full.labels, full.task) == (LABELS, "multilabel")
    test = full.table["split"] == "test"
    assert (int((~test).sum()), int(test.sum())) == (86_524, 25_596)
    patients = full.table.groupby(test)["patient_id"].nunique()
    assert patients.to_dict() == {False: 28_008, True: 2_797}
    for label, (train_val, in_test) in POSITIVES.items():
        counts = full.table.groupby(test)[label].sum()
        assert (counts[False], counts[True]) == (train_val, in_test), label
    negative = full.targets().sum(axis=1) == 0
    assert (int((negative & ~test).sum()), int((negative & test).sum())) == (50_500, 9_861)
    assert int((full.targets().sum(axis=1) > 1).sum()) == 20_796


def test_attributes_are_clean(full):
    assert full.table["view"].value_counts().to_dict() == {"PA": 67_310, "AP": 44_810}
    assert full.table["sex"].value_counts().to_dict() == {"M": 63_340, "F": 48_780}
    assert (full.table["age"].min(), full.table["age"].max()) == (0, 95)
    first = full.table.iloc[0]
    assert (first["original_width_px"], first["original_height_px"]) == (2682, 2749)
    assert not [c for c in full.table if "[" in c or "]" in c]


def test_validation_is_carved_out_of_train_val_by_patient(full):
    counts = full.table["split"].value_counts()
    assert counts["validation"] / 86_524 == pytest.approx(0.125, abs=0.001)
    assert (full.table.groupby("patient_id")["split"].nunique() == 1).all()
    assert any("Data_Entry_2017_v2020.csv" in note for note in full.notes)


_QUICK_AND_SMALL = """
import sys, time
from pathlib import Path
from resight.cohorts import leakcheck, load_chestxray14, split_cohort
start = time.process_time()
report = leakcheck(split_cohort(load_chestxray14(Path(sys.argv[1]))))
print(report.verdict, report.shared.patients, time.process_time() - start)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_import_split_and_leak_check_are_quick_and_small(real_data):
    command = [sys.executable, "-c", _QUICK_AND_SMALL, str(real_data("chestxray14_metadata"))]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found[:2] == ["clean", "0"]
    assert float(found[2]) < 10
    assert int(found[3]) < 1_000_000  # KiB


def test_metadata_alone_tell_what_they_are_known_to_tell(full):
    report = leakcheck(full, LeakOptions(images=False))
    view = {one.label: one.auroc.value for one in report.columns if one.column == "view"}
    assert sum(view.values()) / len(view) == pytest.approx(0.58, abs=0.03)


def test_boxes(real_data, full):
    boxes = load_boxes(real_data("chestxray14_metadata"))
    assert (len(boxes), boxes["image"].nunique()) == (984, 880)
    assert boxes["label"].value_counts().to_dict() == {
        "Atelectasis": 180, "Effusion": 153, "Cardiomegaly": 146, "Infiltration": 123,
        "Pneumonia": 120, "Pneumothorax": 98, "Mass": 85, "Nodule": 79,
    }  # fmt: skip
    assert boxes["x_px"].iloc[0] == pytest.approx(225.0847, abs=1e-4)
    assert ((boxes["x_px"] + boxes["width_px"]) <= GRID_PX + 1).all()
    rows = full.table.set_index("image")
    assert (rows.loc[boxes["image"], "split"] == "test").all()
    assert all(rows.at[box.image, box.label] == 1 for box in boxes.itertuples())


def test_summary_of_the_full_table(full):
    summary = inspect_cohort(full, files=False)
    assert summary.whole.patients == 30_805
    assert summary.parts["test"].images == 25_596
    counts = {one.label: one.positives for one in summary.whole.labels}
    assert counts == {label: sum(parts) for label, parts in POSITIVES.items()}


def write_small(folder, rows):
    (folder / "Data_Entry_2017.csv").write_text(HEADER + "".join(f"{row},\n" for row in rows))


ROWS = [
    "00000001_000.png,Cardiomegaly|Infiltration,0,1,411,M,PA,2682,2749,0.143,0.143",
    "00000002_000.png,No Finding,0,2,058Y,F,AP,2500,2048,0.168,0.168",
    "00000003_000.png,Hernia,0,3,71,F,PA,2500,2048,0.168,0.168",
]


@pytest.mark.parametrize("layout", ["images_001/images/{}", "images/{}", "{}"])
def test_images_are_found_in_every_published_layout(pictures, layout):
    folder = pictures(*(layout.format(row.split(",")[0]) for row in ROWS))
    write_small(folder, ROWS)
    cohort = load_chestxray14(folder, missing_images="error")
    assert all(path.is_file() for path in cohort.paths)
    assert "split" not in cohort.table
    assert any("No official split" in note for note in cohort.notes)


def test_first_edition_ages(tmp_path):
    write_small(tmp_path, ROWS)
    ages = load_chestxray14(tmp_path).table["age"].tolist()
    assert ages[1:] == [58, 71]
    assert ages[0] != ages[0]


def test_some_images_absent(pictures):
    folder = pictures("images/00000001_000.png", "images/00000002_000.png")
    write_small(folder, ROWS)
    assert len(load_chestxray14(folder)) == 3
    dropped = load_chestxray14(folder, missing_images="drop")
    assert dropped.table["image"].tolist() == ["images/00000001_000.png", "images/00000002_000.png"]
    with pytest.raises(CohortError, match="1 of 3 images are not there"):
        load_chestxray14(folder, missing_images="error")


def test_lists_that_do_not_fit(tmp_path):
    write_small(tmp_path, ROWS)
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000002_000.png")
    (tmp_path / "test_list.txt").write_text("00000009_000.png")
    with pytest.raises(CohortError, match=r"1 images are in no list \(the first: 00000003_000.png\)"):
        load_chestxray14(tmp_path)
    write_small(tmp_path, [*ROWS, "00000003_001.png,Hernia,1,3,71,F,PA,2500,2048,0.168,0.168"])
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000002_000.png\n00000003_000.png")
    (tmp_path / "test_list.txt").write_text("00000003_001.png")
    with pytest.raises(LeakError, match="1 groups of images lie in more than one part"):
        load_chestxray14(tmp_path)


def test_files_may_be_unpacked_or_gzipped(real_data, tmp_path):
    source = real_data("chestxray14_metadata")
    for path in source.iterdir():
        with gzip.open(path) as packed, (tmp_path / path.stem).open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    assert load_boxes(tmp_path).equals(load_boxes(source))


def test_folders_without_the_files(tmp_path):
    with pytest.raises(CohortError, match="no label table"):
        load_chestxray14(tmp_path)
    with pytest.raises(CohortError, match="no table of boxes"):
        load_boxes(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels\na.png,Hernia\n")
    with pytest.raises(CohortError, match="no column 'Patient ID'"):
        load_chestxray14(tmp_path)
