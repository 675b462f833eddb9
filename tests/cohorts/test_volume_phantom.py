"""Planted truth of the drawn volumes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import ndimage

from resight.cli.main import main
from resight.cohorts import CohortOptions, VolumePhantomOptions, load_cohort, render_volume, write_volume_phantom
from resight.cohorts.volume_phantom import FINDING
from resight.imaging import VOI, read
from resight.preprocess import Recipe

SMALL = {"volumes": 6, "in_plane_mm": (4.0, 5.0), "slice_mm": (5.0, 10.0)}


@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_a_lesion_is_brighter_than_what_surrounds_it_and_the_healthy_have_none(kind: str) -> None:
    options = VolumePhantomOptions(kind=kind, volumes=30)
    drawn = [render_volume(options, index) for index in range(8)]
    labels = [bool(one.row[FINDING[kind]]) for one in drawn]
    assert len(set(labels)) == 2
    assert labels == [bool(one.mask.any()) for one in drawn] == [one.truth["lesions"] > 0 for one in drawn]
    for one in (one for one, ill in zip(drawn, labels, strict=True) if ill):
        around = ndimage.binary_dilation(one.mask, iterations=2) & ~ndimage.binary_dilation(one.mask)
        assert np.median(one.values[one.mask]) > np.median(one.values[around]) + one.values[around].std()


def test_the_window_of_volumes_keeps_lesions_brighter_than_all_else_and_that_of_images_cuts_them(
    tmp_path: Path,
) -> None:
    settings = tomllib.loads((Path(__file__).parents[2] / "benchmarks/experiments/volume_mr.toml").read_text())
    recipe = Recipe.model_validate(settings["recipe"])
    table = write_volume_phantom(VolumePhantomOptions(kind="mr", volumes=10), tmp_path).table

    def brightest(recipe: Recipe, ill: int) -> list[float]:
        return [
            float(np.percentile(recipe.prepare(tmp_path / n), 99.98)) for n in table["image"][table["lesion"] == ill]
        ]

    assert min(brightest(recipe, 1)) > 1.1 * max(brightest(recipe, 0))
    of_images = recipe.model_copy(update={"voi": VOI(percentiles=(0.5, 99.5))})
    assert min(brightest(of_images, 1)) < 1.1 * max(brightest(of_images, 0))


def test_a_volume_depends_on_its_number_alone_and_spacings_vary() -> None:
    few, many = VolumePhantomOptions(volumes=4), VolumePhantomOptions(volumes=9)
    assert np.array_equal(render_volume(few, 2).values, render_volume(many, 2).values)
    assert not np.array_equal(render_volume(few, 2).values.shape, render_volume(few, 3).values.shape)
    truths = [render_volume(VolumePhantomOptions(), index).truth for index in range(12)]
    assert len({round(t["slice_mm"] / 2.5) for t in truths}) >= 3
    assert len({t["axes"] for t in truths}) > 3


@pytest.mark.parametrize("stored", ["nifti", "dicom"])
@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_what_is_written_is_read_back_in_place(tmp_path: Path, kind: str, stored: str) -> None:
    options = VolumePhantomOptions(kind=kind, format=stored, masks=True, turned=1, **SMALL)
    cohort = write_volume_phantom(options, tmp_path)
    loaded = load_cohort(CohortOptions(path=tmp_path, labels=(FINDING[kind],)))
    assert list(loaded.table["image"]) == list(cohort.table["image"])
    for index, path in enumerate(loaded.paths[:3]):
        drawn = render_volume(options, index)
        low, high = int(drawn.values.min()), int(drawn.values.max())
        image = read(path, voi=VOI(mode="fixed", center=(low + high) / 2 + 0.5, width=high - low + 1.0))
        np.testing.assert_allclose(image.pixels[0] * (high - low) + low, drawn.values, atol=0.02 * (high - low))
        np.testing.assert_allclose(image.affine, drawn.affine, atol=1e-3)
        if stored == "nifti":
            mask = nib.load(tmp_path / "masks" / f"{index:06d}.nii.gz")
            np.testing.assert_allclose(mask.affine, nib.load(path).affine)
            inside = np.asarray(nib.load(path).dataobj)[np.asarray(mask.dataobj) > 0]
            assert np.array_equal(np.sort(inside), np.sort(drawn.values[drawn.mask]))
        else:
            assert image.modality == kind.upper()


def test_the_command_draws_volumes(tmp_path: Path) -> None:
    small = ["volumes=6", "in_plane_mm=[5.0,5.0]"]
    options = [word for one in small for word in ("--option", one)]
    assert main(["data", "phantom", str(tmp_path / "a"), "--kind", "mr", *options]) == 0
    assert list(pd.read_csv(tmp_path / "a" / "cohort.csv")["lesion"].isin([0, 1])) == [True] * 6
    assert main(["data", "phantom", str(tmp_path / "b"), "--kind", "ct", "--option", "images=2"]) == 3
    assert main(["data", "inspect", str(tmp_path / "a"), "--labels", "lesion"]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_plane_mm": (3.0, 2.0)}, "lower one first"),
        ({"slice_mm": (30.0,)}, "20 mm at most"),
        ({"slice_mm": (0.0,)}, "greater than 0"),
        ({"splits": (0.5, 0.1, 0.1)}, "add up to 1"),
    ],
)
def test_impossible_options_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VolumePhantomOptions.model_validate(changes)
