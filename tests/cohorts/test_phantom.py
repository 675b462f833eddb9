from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.cohorts.phantom import PhantomImage, read_masks, render, write_phantom
from resight.cohorts.phantom_cases import (
    CHESTXRAY14_PREVALENCE,
    FINDINGS,
    BrokenScanner,
    GroupBias,
    PhantomOptions,
    Shortcut,
    cohort_row,
    describe_case,
    truth_row,
    visibility,
)
from resight.cohorts.phantom_findings import Finding
from resight.errors import CohortError, OutputError, SettingsError
from resight.settings import validate

_TABLE = 3000  # images whose rows are described without drawing them


def _tables(options: PhantomOptions, images: int = _TABLE) -> tuple[pd.DataFrame, pd.DataFrame]:
    options = options.model_copy(update={"images": images})
    cases = [describe_case(options, index) for index in range(images)]
    rows = pd.DataFrame([cohort_row(options, case) for case in cases])
    return rows, pd.DataFrame([truth_row(options, case) for case in cases])


def _same(a: PhantomImage, b: PhantomImage) -> bool:
    masks = a.masks.keys() == b.masks.keys() and all((a.masks[k] == b.masks[k]).all() for k in a.masks)
    return masks and a.row == b.row and a.truth == b.truth and np.array_equal(a.pixels, b.pixels)


@given(st.integers(0, 500), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_an_image_depends_on_seed_and_index_alone(index: int, seed: int) -> None:
    options = PhantomOptions(seed=seed, size_px=64)
    alone = render(options, index)
    render(options, index + 1)
    assert _same(alone, render(options, index))
    assert _same(alone, render(options.model_copy(update={"images": 10_000}), index))
    assert not np.array_equal(alone.pixels, render(options.model_copy(update={"seed": seed + 1}), index).pixels)


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("size_px", [64, 160])
def test_the_mask_is_where_the_finding_changes_the_picture(finding: Finding, size_px: int) -> None:
    options = PhantomOptions(findings=(finding,), prevalence=1.0, size_px=size_px, difficulty=0.0, seed=4)
    seen = 0
    for index in range(12):
        image = render(options, index)
        if finding not in image.masks:
            continue
        seen += 1
        mask = image.masks[finding]
        assert mask.dtype == bool
        assert mask.shape == image.pixels.shape == (size_px, size_px)
        assert 0.0005 < mask.mean() < 0.5
        change = np.abs(image.pixels.astype(float) - render(options, index, without=(finding,)).pixels)
        near = cv2.dilate(mask.astype(np.uint8), np.ones((size_px // 12, size_px // 12), np.uint8)) > 0
        # what moves the diaphragm or the heart changes more than the finding itself
        least = 0.5 if finding in ("Atelectasis", "Emphysema", "Cardiomegaly") else 0.85
        assert change[near].sum() > least * change.sum()
        assert change[mask].mean() > 4 * change[~near].mean()
    assert seen >= 8


def test_leaving_a_finding_away_keeps_the_row_and_the_other_masks() -> None:
    options = PhantomOptions(findings=("Nodule", "Effusion"), prevalence=1.0, size_px=64)
    both = next(image for i in range(20) if len((image := render(options, i)).masks) == 2)
    index = int(str(both.row["image"])[7:13])
    without = render(options, index, without=("Nodule",))
    assert without.row == both.row
    assert set(without.masks) == {"Effusion"}
    np.testing.assert_array_equal(without.masks["Effusion"], both.masks["Effusion"])


def test_prevalences_patients_and_splits_are_as_asked() -> None:
    rows, truth = _tables(PhantomOptions(prevalence=0.2))
    np.testing.assert_allclose(rows[list(FINDINGS)].mean(), 0.2, atol=0.05)
    assert (rows[list(FINDINGS)] == truth[list(FINDINGS)]).all(axis=None)
    assert (rows.groupby("patient_id")["split"].nunique() == 1).all()
    assert rows["patient_id"].nunique() == _TABLE / 3
    assert rows.groupby("patient_id").size().between(1, 5).all()
    shares = rows.drop_duplicates("patient_id")["split"].value_counts(normalize=True)
    np.testing.assert_allclose(shares[["train", "validation", "test"]], (0.7, 0.1, 0.2), atol=0.01)
    assert (rows.groupby("patient_id")[["age", "sex", "site"]].nunique() == 1).all(axis=None)
    assert set(rows["site"]) == {"A", "B", "C"}
    realistic, _ = _tables(PhantomOptions(prevalence="chestxray14"))
    wanted = [CHESTXRAY14_PREVALENCE[f] for f in FINDINGS]
    np.testing.assert_allclose(realistic[list(FINDINGS)].mean(), wanted, atol=0.03)


def test_a_patient_has_the_same_findings_more_often_than_chance() -> None:
    rows, _ = _tables(PhantomOptions(findings=("Mass",), prevalence=0.2))
    pairs = rows["Mass"].to_numpy()[:-1] * rows["Mass"].to_numpy()[1:]
    same = rows["patient_id"].to_numpy()[:-1] == rows["patient_id"].to_numpy()[1:]
    assert pairs[same].mean() > 0.12 > 0.07 > pairs[~same].mean()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_planted_shortcut_correlates_as_strongly_as_asked(strength: float) -> None:
    options = PhantomOptions(
        findings=("Effusion",),
        prevalence=0.5,
        size_px=64,
        shortcut=Shortcut(label="Effusion", strength=strength, test_strength=-strength),
    )
    rows, truth = _tables(options)
    for part, wanted in (("train", strength), ("test", -strength)):
        rate = truth.loc[rows["split"] == part].groupby(rows["Effusion"])["marker"].mean()
        assert abs((rate[1] - rate[0]) - wanted) < 0.09
    for index in range(6):
        image = render(options, index)
        assert ("shortcut" in image.masks) == bool(truth["marker"][index])
        if truth["marker"][index]:
            corner = image.masks["shortcut"]
            assert image.pixels[corner].mean() > 120
            assert not (corner & image.masks.get("Effusion", np.zeros_like(corner))).any()


def test_planted_group_bias() -> None:
    bias = GroupBias(attribute="sex", value="F", visibility=0.3, underdiagnosis=0.4, prevalence=0.5)
    options = PhantomOptions(findings=("Mass", "Edema"), prevalence=0.4, bias=bias)
    rows, truth = _tables(options)
    women = rows["sex"] == "F"
    labels = ["Mass", "Edema"]
    assert (rows.loc[~women, labels] == truth.loc[~women, labels]).all(axis=None)
    missed = 1 - rows.loc[women, labels].to_numpy().sum() / truth.loc[women, labels].to_numpy().sum()
    assert abs(missed - 0.4) < 0.06
    ratio = truth.loc[women, labels].to_numpy().mean() / truth.loc[~women, labels].to_numpy().mean()
    assert abs(ratio - 0.5) < 0.1
    cases = [describe_case(options, index) for index in range(40)]
    seen = {case.patient.sex: visibility(options, case) for case in cases}
    assert seen["F"] == pytest.approx(0.3 * seen["M"])


def test_fainter_findings_change_the_picture_less() -> None:
    plain = PhantomOptions(findings=("Mass",), prevalence=1.0, size_px=64, difficulty=0.0)

    def change(options: PhantomOptions) -> float:
        pairs = [(render(options, i), render(options, i, without=("Mass",))) for i in range(8)]
        return float(np.mean([np.abs(a.pixels.astype(float) - b.pixels).mean() for a, b in pairs if a.masks]))

    everyone = GroupBias(attribute="view", value="PA", visibility=0.3)
    faint = plain.model_copy(update={"bias": everyone, "portable": 0.0})
    assert change(faint) < 0.45 * change(plain.model_copy(update={"portable": 0.0}))
    assert change(plain.model_copy(update={"difficulty": 0.8})) < 0.6 * change(plain)


def test_planted_label_noise_has_its_rate() -> None:
    rows, truth = _tables(PhantomOptions(label_noise=0.1))
    flipped = rows[list(FINDINGS)].to_numpy() != truth[list(FINDINGS)].to_numpy()
    assert abs(flipped.mean() - 0.1) < 0.01
    assert abs(np.corrcoef(flipped[:, 0], flipped[:, 1])[0, 1]) < 0.1


def test_planted_patient_leak() -> None:
    rows, _ = _tables(PhantomOptions(patient_leak=0.3))
    several = rows.groupby("patient_id").filter(lambda images: len(images) > 2)
    leaking = several.groupby("patient_id")["split"].nunique() > 1
    assert 0.1 < leaking.mean() < 0.3


def test_planted_duplicates_lie_in_training_under_another_name() -> None:
    options = PhantomOptions(images=200, size_px=64, duplicate_leak=0.5, findings=("Mass",), prevalence=0.5)
    rows, truth = _tables(options, 200)
    copies = truth["duplicate_of"] != ""
    assert not copies[rows["split"] == "train"].any()
    assert 0.3 < copies[rows["split"] != "train"].mean() < 0.7
    exact = 0
    for number in np.flatnonzero(copies):
        original = int(truth["duplicate_of"][number][7:13])
        assert rows["split"][original] == "train"
        assert rows["patient_id"][original] != rows["patient_id"][number]
        shown = ["Mass", "age", "sex", "view"]
        assert (rows.loc[original, shown] == rows.loc[number, shown]).all()
        pair = [render(options, k).pixels.astype(float) for k in (original, int(number))]
        exact += np.array_equal(*pair)
        assert np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] > 0.99
    assert 0 < exact < copies.sum()


@pytest.mark.parametrize("fault", ["rotated", "inverted", "drift"])
def test_planted_broken_scanner(fault: str) -> None:
    broken = validate(BrokenScanner, {"site": "B", "fault": fault}, where="test")
    good = PhantomOptions(images=60, size_px=64, prevalence=0.5)
    bad = good.model_copy(update={"broken": broken})
    sites = set()
    for index in range(40, 60):
        before, after = render(good, index), render(bad, index)
        sites.add(before.row["site"])
        assert after.truth["broken"] == int(before.row["site"] == "B")
        if before.row["site"] != "B":
            assert _same(before, after)
        elif fault == "rotated":
            np.testing.assert_array_equal(after.pixels, np.rot90(before.pixels))
            assert all((after.masks[k] == np.rot90(before.masks[k])).all() for k in before.masks)
        elif fault == "inverted":
            np.testing.assert_array_equal(after.pixels, 255 - before.pixels)
        else:
            assert after.pixels.mean() > 1.2 * before.pixels.mean()
    assert len(sites) == 3


def test_anatomy_tells_view_and_sex() -> None:
    """The heart of AP exposures is wider, breasts lie in the lower lungs of women."""
    options = PhantomOptions(prevalence=0.0, size_px=64, images=150, difficulty=0.0)
    images = [render(options, i) for i in range(150)]
    pixels = np.stack([i.pixels for i in images]).astype(float)
    ap = np.array([i.row["view"] == "AP" for i in images])
    women = np.array([i.row["sex"] == "F" for i in images])
    spread = pixels.std(axis=(1, 2))
    assert spread[ap].mean() < 0.95 * spread[~ap].mean()
    breast = pixels[:, 36:46, 12:22].mean(axis=(1, 2))
    assert breast[women & ~ap].mean() > breast[~women & ~ap].mean() + 4


def test_multiclass_rows_have_one_class_each() -> None:
    options = PhantomOptions(
        task="multiclass", findings=("Mass", "Effusion", "Emphysema"), prevalence=0.25, label_noise=0.2
    )
    rows, truth = _tables(options)
    assert list(truth.columns[1:5]) == ["No Finding", "Mass", "Effusion", "Emphysema"]
    for table in (rows, truth):
        assert (table[list(options.labels)].sum(axis=1) == 1).all()
    np.testing.assert_allclose(truth[list(options.labels)].mean(), 0.25, atol=0.05)
    assert abs((rows[list(options.labels)] != truth[list(options.labels)]).any(axis=1).mean() - 0.2) < 0.03


def test_written_cohort_is_what_render_gives(tmp_path: Path) -> None:
    options = PhantomOptions(
        images=12, size_px=48, prevalence=0.4, masks=True, shortcut=Shortcut(label="Mass"), label_noise=0.1
    )
    cohort = write_phantom(options, tmp_path / "phantom")
    assert cohort.labels == FINDINGS
    assert cohort.task == "multilabel"
    read = pd.read_csv(tmp_path / "phantom" / "cohort.csv", dtype={"patient_id": str})
    pd.testing.assert_frame_equal(read, cohort.table)
    truth = pd.read_csv(tmp_path / "phantom" / "truth.csv", keep_default_na=False)
    for index, path in enumerate(cohort.paths):
        image = render(options, index)
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image.pixels)
        masks = read_masks(tmp_path / "phantom" / "masks" / path.name)
        assert masks.keys() == image.masks.keys()
        assert all((masks[k] == image.masks[k]).all() for k in masks)
        assert truth.iloc[index].to_dict() == image.truth
    assert write_phantom(PhantomOptions(images=1, size_px=32, findings=("Mass",)), tmp_path / "b").task == "binary"


def test_errors_are_clear(tmp_path: Path) -> None:
    for wrong, expected in (
        ({"findings": ["Mass", "Mass"]}, "findings that differ"),
        ({"findings": ["Mass"], "shortcut": {"label": "Edema"}}, "a shortcut for one of the findings"),
        ({"splits": [0.5, 0.1, 0.1]}, "add up to 1"),
        ({"broken": {"site": "D"}}, "one of the sites A, B, C"),
        ({"bias": {"attribute": "sex", "value": "female"}}, "one of the groups F, M"),
        ({"task": "multiclass"}, "add up to 1 at most"),
    ):
        with pytest.raises(SettingsError, match=expected):
            validate(PhantomOptions, wrong, where="test")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_phantom(PhantomOptions(images=1), tmp_path / "file")
    with pytest.raises(CohortError, match="no mask file"):
        read_masks(tmp_path / "file")


def test_speed_floor() -> None:
    """Measured at about 330 images a second and core at 128 px; the floor is for busy machines."""
    options = PhantomOptions()
    render(options, 0)
    start = time.process_time()
    for index in range(60):
        render(options, index)
    assert 60 / (time.process_time() - start) > 60
