"""What networks of volumes, of several inputs and of few labels refuse: from the command line, one clear line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch

from resight.cohorts import VolumePhantomOptions, write_volume_phantom
from resight.models import Manifest, ModelOptions, build_classifier, save_bundle
from resight.multimodal import ClinicalOptions, TableEncoding
from resight.preprocess import Modality, Recipe

BACKBONE = {"name": "resnet", "depth": 10, "width": 4, "stem": "cifar"}
LABELS = ("Effusion",)
CLINICAL = ClinicalOptions(columns=("age", "ward"))


def bundle(folder: Path, recipe: Recipe, encoding: TableEncoding | None = None) -> Path:
    """An untrained network in a bundle: what it refuses is refused before it is asked."""
    torch.manual_seed(0)
    model = ModelOptions(backbone=BACKBONE, clinical=None if encoding is None else CLINICAL).resolved()
    network = build_classifier(
        model,
        labels=LABELS,
        channels=recipe.input_channels,
        dims=len(recipe.size_px),
        modalities=max(1, len(recipe.modalities)),
        encoding=encoding,
    )
    save_bundle(folder, network, Manifest(labels=LABELS, task="binary", recipe=recipe, model=model, encoding=encoding))
    return folder


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    return bundle(tmp_path / "volumes", Recipe(size_px=(8, 8, 8)))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    both = (Modality(name="ct"), Modality(name="pet"))
    return bundle(tmp_path / "pairs", Recipe(size_px=(8, 8, 8), modalities=both))


@pytest.fixture
def with_table(tmp_path: Path) -> Path:
    known = pd.DataFrame({"age": [30.0, 50.0, 70.0], "ward": ["surgery", "medicine", "surgery"]})
    encoding = TableEncoding.fit(known, CLINICAL, where="cohort")
    return bundle(tmp_path / "with_table", Recipe(size_px=(16, 16)), encoding)


@pytest.fixture
def told(resight: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """What the table of predictions says of the one image that was asked for."""

    def ask(*arguments: object) -> str:
        answer = resight("predict", *arguments, "--out", tmp_path / "p.csv", "--force")
        assert "Traceback" not in answer.err
        (error,) = pd.read_csv(tmp_path / "p.csv")["error"].dropna()
        assert "\n" not in error
        return str(error)

    return ask


def nifti(path: Path, affine: np.ndarray, shape: tuple[int, ...] = (9, 9, 9)) -> Path:
    nib.save(nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine), path)
    return path


def cases(tmp_path: Path, pet: Path) -> Path:
    ct = nifti(tmp_path / "ct.nii", np.diag([2.0, 2.0, 2.0, 1.0]))
    pd.DataFrame({"ct": [ct], "pet": [pet]}).to_csv(tmp_path / "cases.csv", index=False)
    return tmp_path / "cases.csv"


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    options = VolumePhantomOptions(volumes=1, format="dicom", in_plane_mm=(16.0, 16.0), slice_mm=(16.0,))
    write_volume_phantom(options, tmp_path / "drawn")
    return sorted((tmp_path / "drawn" / "images" / "000000").iterdir())


def edited(path: Path, **values: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_affines_that_differ_between_modalities(told: Callable[..., str], pairs: Path, tmp_path: Path) -> None:
    moved = np.diag([2.0, 2.0, 2.0, 1.0])
    moved[:3, 3] = 0, 0, 30
    line = told(pairs, "--table", cases(tmp_path, nifti(tmp_path / "pet.nii", moved)))
    assert "pet does not lie on the grid of ct: it lies 30 mm away" in line
    assert "recipe.align" in line


def test_grids_that_differ_between_modalities(told: Callable[..., str], pairs: Path, tmp_path: Path) -> None:
    coarse = nifti(tmp_path / "pet.nii", np.diag([2.0, 2.0, 4.0, 1.0]), (9, 9, 5))
    line = told(pairs, "--table", cases(tmp_path, coarse))
    assert "pet does not lie on the grid of ct: it has 5x9x9 points instead of 9x9x9" in line


def test_a_column_that_is_missing(resight: Callable[..., Any], with_table: Path, phantom: Path, tmp_path: Path) -> None:
    pd.DataFrame({"image": ["a.png"], "age": [40.0]}).to_csv(tmp_path / "lacking.csv", index=False)
    answer = resight("predict", with_table, phantom / "images", "--table", tmp_path / "lacking.csv")
    assert answer.code == 4
    assert "no column 'ward', which the model reads" in answer.complaint


def test_a_category_that_training_did_not_see(
    told: Callable[..., str], with_table: Path, phantom: Path, tmp_path: Path
) -> None:
    image = min((phantom / "images").glob("*.png"))
    pd.DataFrame({"image": [image.name], "age": [40.0], "ward": ["moon"]}).to_csv(tmp_path / "t.csv", index=False)
    line = told(with_table, image, "--table", tmp_path / "t.csv")
    assert (
        "column 'ward' of '000000.png' is 'moon', which training did not see; expected one of medicine, surgery" in line
    )


def test_a_volume_of_one_slice(told: Callable[..., str], volumes: Path, tmp_path: Path) -> None:
    line = told(volumes, nifti(tmp_path / "a.nii", np.eye(4), (9, 9, 1)))
    assert "a.nii: one slice: the image has 2 spatial axes (9x9); expected 3" in line


def test_direction_cosines_that_are_not_orthogonal(
    told: Callable[..., str], volumes: Path, series: list[Path], tmp_path: Path
) -> None:
    sheared = np.diag([2.0, 2.0, 2.0, 1.0])
    sheared[0, 1] = 0.5
    assert "a.nii: axes 76.0 degrees apart; expected 90" in told(volumes, nifti(tmp_path / "a.nii", sheared))
    for path in series:
        edited(path, ImageOrientationPatient=[1, 0, 0, 0.5, 0.866025, 0])
    assert "rows and columns 60.0 degrees apart; expected 90" in told(volumes, series[0].parent)


def test_series_that_are_mixed(told: Callable[..., str], volumes: Path, series: list[Path]) -> None:
    edited(series[3], SeriesInstanceUID="2.25.1")
    line = told(volumes, series[0].parent)
    assert "000000: the folder holds 2 series (largest: 16, 1 files); expected one series" in line
    assert told(volumes, series[0].parents[1]) == line, "below a folder as well, and not slice by slice"


@pytest.mark.parametrize("spacing", [0.0, -2.0])
def test_a_spacing_of_zero_or_below(told: Callable[..., str], volumes: Path, tmp_path: Path, spacing: float) -> None:
    path = nifti(tmp_path / "a.nii", np.diag([2.0, 2.0, 2.0, 1.0]))
    content = bytearray(path.read_bytes())
    content[88:92] = np.float32(spacing).tobytes()  # pixdim[3]
    path.write_bytes(content)
    assert f"a.nii: spacing {spacing:g} mm on axis 2; expected > 0" in told(volumes, path)


@pytest.mark.parametrize("spacing", [[0, 8], [8, -1]])
def test_a_pixel_spacing_of_zero_or_below(
    told: Callable[..., str], volumes: Path, series: list[Path], spacing: list[float]
) -> None:
    for path in series:
        edited(path, PixelSpacing=spacing)
    assert "mm; expected > 0" in told(volumes, series[0].parent)


def test_support_sets_of_one_class(
    resight: Callable[..., Any], run_folder: Path, phantom: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(phantom / "cohort.csv")
    given = ("--labels", "Effusion", "--option", "split_column=split", "--shots", 2)
    lines = []
    for rows in (slice(None), table["split"] == "test"):  # of the whole cohort, and of the part that is judged
        table.loc[rows, "Effusion"] = 1
        table.to_csv(phantom / "one_class.csv", index=False)
        answer = resight("fewshot", run_folder, phantom / "one_class.csv", *given, "--episodes", 5, "--queries", 3)
        assert answer.code == 4
        lines.append(answer.complaint)
        table = pd.read_csv(phantom / "cohort.csv")
    assert "one_class.csv: one class only: every known label is positive; expected both classes" in lines[0]
    assert "episodes: images of one class only; expected 2, the ways of an episode" in lines[1]


def test_attributes_that_do_not_separate_labels(
    resight: Callable[..., Any], run_folder: Path, phantom: Path, tmp_path: Path
) -> None:
    described = pd.DataFrame({"label": ["Cardiomegaly", "Effusion", "Either"], "heart": [1, 0, 0], "fluid": [0, 1, 1]})
    described.to_csv(tmp_path / "d.csv", index=False)
    table = pd.read_csv(phantom / "cohort.csv")
    cohort = phantom / "same_description.csv"
    table.assign(Either=table[["Cardiomegaly", "Effusion"]].max(axis=1)).to_csv(cohort, index=False)
    given = ("--labels", *described["label"], "--option", "split_column=split", "--descriptions", tmp_path / "d.csv")
    answer = resight("zeroshot", run_folder, cohort, *given)
    assert answer.code == 4
    assert "descriptions 2 and 3 are the same; expected descriptions that tell the labels apart" in answer.complaint
