from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cohorts import (
    CohortOptions,
    LeakOptions,
    PhantomOptions,
    SplitOptions,
    leakcheck,
    load_cohort,
    split_cohort,
    write_phantom,
)
from resight.cohorts.leaks import LeakReport
from resight.errors import LeakError
from resight.settings import write_json


def texts(report: LeakReport, severity: str) -> str:
    return "\n".join(finding.text for finding in report.findings if finding.severity == severity)


def test_a_clean_split_is_clean(make_cohort, rng):
    patients = [f"{row // 2}" for row in range(400)]
    cohort = split_cohort(make_cohort(patient_id=patients, age=rng.normal(50, 9, 400), X=rng.random(400) < 0.5))
    report = leakcheck(cohort)
    assert (report.verdict, report.exit_code, report.findings) == ("clean", 0, ())
    assert (report.patients, report.shared.patients) == (200, 0)
    assert "Verdict: clean" in str(report)


def test_shared_patients_are_a_leak_and_counted(make_cohort):
    cohort = make_cohort(
        patient_id=["a", "a", "b", "b", "c", "c", "c", "d"],
        split=["train", "test", "train", "train", "train", "validation", "test", "test"],
        X=[0, 1] * 4,
    )
    report = leakcheck(cohort)
    assert (report.verdict, report.exit_code) == ("leak", LeakError.exit_code)
    assert (report.shared.patients, report.shared.images, report.shared.examples) == (2, 5, ("a", "c"))
    assert report.shared.pairs == {"test and train": 2, "test and validation": 1, "train and validation": 1}
    assert "LEAK    2 patients with 5 images" in str(report)


def test_unknown_patients_are_suspect_and_fail_only_in_strict_mode(make_cohort):
    cohort = make_cohort(X=[0, 1] * 5)
    assert (leakcheck(cohort).verdict, leakcheck(cohort).exit_code) == ("suspect", 0)
    assert leakcheck(cohort, LeakOptions(strict=True)).exit_code == LeakError.exit_code
    assert "2 images have no patient id" in texts(
        leakcheck(make_cohort(patient_id=["", "", "1"], X=[0, 1, 1])), "suspect"
    )


def test_a_column_that_restates_the_label_is_one_finding(make_cohort, rng):
    positive = rng.random(300) < 0.5
    cohort = make_cohort(
        patient_id=[f"{n}" for n in range(300)], ward=np.where(positive, "icu", "home"), X=positive, Y=~positive
    )
    report = leakcheck(cohort)
    assert report.verdict == "suspect"
    assert len(report.findings) == 1
    assert report.findings[0].text.startswith("ward alone tells")
    assert "and 1 more labels: it restates the label" in report.findings[0].text


def test_planted_copies_are_found_and_their_clusters_repair_the_split(pictures, table_of, tmp_path, rng):
    names = [f"{row}.png" for row in range(40)]
    pictures(*names)
    coarse = rng.integers(0, 255, (30, 6, 6), dtype=np.uint8)
    for row in range(30):
        smooth = cv2.resize(coarse[row], (96, 96), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / names[row]), smooth)
    for row in range(5):  # the same file, the same pixels, and a brighter, noisy copy
        (tmp_path / names[30 + row]).write_bytes((tmp_path / names[row]).read_bytes())
        other = cv2.imread(str(tmp_path / names[10 + row]), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / names[35 + row]), np.clip(other * 0.9 + 12, 0, 255).astype(np.uint8))
    cv2.imwrite(str(tmp_path / names[39]), cv2.imread(str(tmp_path / names[3]), 0), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    rows = [f"{name},{'test' if row >= 30 else 'train'},{int(row % 7 == 0)}" for row, name in enumerate(names)]
    cohort = load_cohort(CohortOptions(path=table_of("image,split,X\n" + "\n".join(rows))))
    report = leakcheck(cohort)
    kinds = {one.kind: one for one in report.duplicates}
    assert (kinds["same file"].groups, kinds["same file"].groups_across_parts) == (5, 5)
    assert (kinds["same pixels"].groups, kinds["same pixels"].images) == (5, 11)
    assert kinds["same pixels"].groups_with_conflicting_labels == 1
    assert (kinds["near-duplicate"].groups, kinds["near-duplicate"].images) == (9, 19)
    assert report.verdict == "leak"

    clusters = tmp_path / "clusters.csv"
    report.clusters.to_csv(clusters, index=False)
    options = SplitOptions(group=("none",), clusters=clusters)
    repaired = leakcheck(split_cohort(cohort, options))
    assert repaired.verdict == "suspect"  # no patient is known
    assert all(one.groups_across_parts == 0 for one in repaired.duplicates)


def test_leaks_planted_in_the_phantom_are_found_to_the_last_one(tmp_path):
    write_phantom(PhantomOptions(images=300, size_px=48, patient_leak=0.1, duplicate_leak=0.1), tmp_path)
    cohort = load_cohort(CohortOptions(path=tmp_path))
    truth = pd.read_csv(tmp_path / "truth.csv")
    report = leakcheck(cohort)
    assert report.verdict == "leak"
    parts = cohort.table.groupby("patient_id")["split"].nunique()
    assert report.shared.patients == (parts > 1).sum() > 0
    clusters = report.clusters["cluster"]
    planted = truth.index[truth["duplicate_of"].notna()]
    assert len(planted) > 5
    for row in planted:
        assert clusters[row] == clusters[cohort.table.index[cohort.table["image"] == truth.at[row, "duplicate_of"]][0]]


def test_unreadable_images_are_named_and_the_rest_goes_on(pictures, table_of, tmp_path):
    pictures("a.png", "b.png", "c.png")
    (tmp_path / "b.png").write_bytes(b"")
    report = leakcheck(load_cohort(CohortOptions(path=table_of("image,X\na.png,1\nb.png,0\nc.png,0\n"))))
    assert list(report.unreadable) == ["b.png"]


def test_the_report_is_json(make_cohort, tmp_path):
    report = leakcheck(
        make_cohort(
            patient_id=["1", "1", "2", "3"], split=["train", "test", "test", "train"], X=[0, 1, 0, 1], age=[1, 2, 1, 2]
        )
    )
    write_json(tmp_path / "leaks.json", report.to_dict())
    data = json.loads((tmp_path / "leaks.json").read_text())
    assert (data["verdict"], data["exit_code"], data["shared"]["patients"]) == ("leak", 4, 1)
    assert data["columns"][0]["auroc"]["value"] is None


def test_chestxray14_sample_its_split_leaks_thirty_patients(real_data):
    folder = real_data("cxr_nih14_1000")
    cohort = load_cohort(CohortOptions(path=folder, split_column="source_split"))
    report = leakcheck(cohort)
    assert (report.verdict, report.shared.patients) == ("leak", 30)
    without = leakcheck(
        replace(cohort, table=cohort.table.rename(columns={"split": "origin"})), LeakOptions(images=False)
    )
    assert without.verdict == "suspect"
    assert "'origin' looks like a split and has 30 patients" in texts(without, "suspect")
    clusters = report.clusters.merge(cohort.table[["image", "patient_id"]])
    assert (clusters.groupby("cluster")["patient_id"].nunique() == 1).all(), "no two patients look alike"


def test_kermany_has_one_duplicate_within_a_patient(real_data):
    report = leakcheck(load_cohort(CohortOptions(path=real_data("cxr_pneumonia_kermany"))))
    assert [(one.groups, one.images) for one in report.duplicates] == [(1, 2)] * 3
    assert "file bytes alone tells PNEUMONIA" in texts(report, "suspect")
    assert "subtype alone tells PNEUMONIA" in texts(report, "suspect")


def test_brain_mri_colour_mode_tells_the_class_and_slices_repeat(real_data):
    report = leakcheck(load_cohort(CohortOptions(path=real_data("brain_mri_tumour_nickparvar"))))
    assert "file colour_mode alone tells glioma" in texts(report, "suspect")
    mode = next(c for c in report.columns if c.column == "file colour_mode" and c.label == "notumor")
    assert mode.auroc.value == pytest.approx(0.80, abs=0.02)
    near = report.duplicates[-1]
    assert near.groups > 50
    assert near.groups_with_conflicting_labels == 0


def test_isic2017_has_six_exact_duplicates(real_data):
    report = leakcheck(load_cohort(CohortOptions(path=real_data("derm_isic2017"))), LeakOptions(near=False))
    assert [(one.kind, one.groups, one.groups_across_parts) for one in report.duplicates] == [
        ("same file", 6, 4),
        ("same pixels", 6, 4),
    ]
    assert report.verdict == "leak"
