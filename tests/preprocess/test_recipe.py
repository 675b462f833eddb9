from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from resight.errors import ImageError, SettingsError
from resight.imaging import read
from resight.preprocess import Modality, Recipe
from resight.settings import validate
from resight.types import Image


def _image(pixels: np.ndarray, spacing: float = math.nan) -> Image:
    return Image(pixels, (spacing,) * (pixels.ndim - 1), "OT", "memory")


def test_float_and_8_bit_sources_become_the_same(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (1, 90, 70), dtype=np.uint8)
    recipe = Recipe(size_px=(64, 64))
    from_float = recipe.apply(_image((grey / 255).astype(np.float32)))
    assert from_float.dtype == np.uint8
    assert np.abs(from_float.astype(int) - recipe.apply(_image(grey))).max() <= 1


def test_grey_is_luminance_and_colour_is_repeated() -> None:
    red = np.zeros((3, 8, 8), np.uint8)
    red[0] = 200
    assert Recipe(size_px=(8, 8)).apply(_image(red)).tolist() == np.full((1, 8, 8), 60).tolist()
    grey = np.full((1, 8, 8), 77, np.uint8)
    assert (Recipe(size_px=(8, 8), channels=3).apply(_image(grey)) == np.full((3, 8, 8), 77)).all()


def test_number_of_axes_is_checked() -> None:
    with pytest.raises(ImageError, match=r"3 spatial axes \(4x4x4\); expected 2"):
        Recipe(size_px=(8, 8)).apply(_image(np.zeros((1, 4, 4, 4), np.uint8)))


def test_wrong_spacing_is_refused() -> None:
    with pytest.raises(SettingsError, match="one spacing for each of the 2 axes"):
        validate(Recipe, {"size_px": [8, 8], "spacing_mm": [1, 1, 1]}, where="test")


def test_fingerprint_changes_with_every_option() -> None:
    plain = Recipe()
    others = [
        Recipe(size_px=(224, 225)),
        Recipe(channels=3),
        Recipe(resize="crop"),
        Recipe(spacing_mm=(1.0, 1.0)),
        validate(Recipe, {"voi": {"mode": "percentile"}}, where="test"),
        Recipe(intensity="z-score"),
        Recipe(intensity="median"),
        Recipe(channels=3, colour="shades_of_grey"),
        Recipe(modalities=(Modality(name="t1"), Modality(name="t2"))),
        Recipe(modalities=(Modality(name="t1"), Modality(name="t2")), align="resample"),
    ]
    found = {plain.fingerprint(), *(recipe.fingerprint() for recipe in others)}
    assert len(found) == 1 + len(others)
    assert Recipe().fingerprint() == plain.fingerprint()
    assert validate(Recipe, plain.model_dump(mode="json"), where="test").fingerprint() == plain.fingerprint()


def test_stores_that_were_written_before_are_still_found() -> None:
    """Changes only when `_ARITHMETIC` is raised: another option with a default must not make every store anew."""
    assert Recipe().fingerprint() == "9a135547cd6cbae6bff67a1f12ab1739021ac50e3a9646ab5634eaa6872b7c4a"


def test_grid_leads_back_through_a_reduced_jpeg(tmp_path: Path) -> None:
    """A point of the prepared image maps to the same place whether the JPEG was decoded whole or smaller."""
    big = np.zeros((800, 600), np.uint8)
    cv2.circle(big, (420, 250), 24, 255, -1)
    path = tmp_path / "big.jpg"
    cv2.imwrite(str(path), big)
    recipe = Recipe(size_px=(96, 96))
    small = read(path, at_least_px=96)
    assert small.pixels.shape[1] < 800
    prepared = recipe.prepare(path)[0].astype(float)
    found = [(prepared * index).sum() / prepared.sum() for index in np.mgrid[:96, :96]]
    for image in (small, read(path)):
        np.testing.assert_allclose((recipe.grid(image) @ [*found, 1.0])[:2], (250, 420), atol=1.0)


def test_reduced_decoding_gives_nearly_the_same_pixels(real_data: Callable[[str], Path]) -> None:
    path = sorted((real_data("cxr_pneumonia_kermany") / "images").iterdir())[0]
    recipe = Recipe(size_px=(64, 64))
    whole = recipe.apply(read(path)).astype(float)
    assert np.abs(recipe.prepare(path) - whole).mean() < 3


def test_real_volume(real_data: Callable[[str], Path]) -> None:
    recipe = Recipe(size_px=(32, 40, 32), spacing_mm=(5.0, 5.0, 5.0))
    image = read(next(real_data("vol3d").rglob("spm152.nii.gz")))
    prepared = recipe.apply(image)
    assert prepared.shape == (1, 32, 40, 32)
    assert prepared.max() > 100
    grid = recipe.grid(image)
    np.testing.assert_allclose(np.diag(grid)[:3] * image.spacing_mm, 5.0, rtol=0.02)  # a whole number of pixels each
    off_middle = (grid @ [15.5, 19.5, 15.5, 1.0])[:3] - (np.array(image.pixels.shape[1:]) - 1) / 2
    assert (np.abs(off_middle) <= 0.51 * np.diag(grid)[:3]).all()
