"""Colour constancy by shades of grey."""

from __future__ import annotations

import numpy as np
import pytest

from resight.preprocess import Recipe
from resight.preprocess.colour import shades_of_grey
from resight.types import Image


def sixth_mean(picture: np.ndarray) -> np.ndarray:
    return (picture.astype(float).reshape(3, -1) ** 6).mean(axis=1) ** (1 / 6)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_tint_is_taken_out(rng: np.random.Generator, kind: str) -> None:
    grey = np.repeat(rng.uniform(20, 120, (1, 40, 50)), 3, axis=0)
    tinted = grey * np.array([1.6, 1.0, 0.7]).reshape(3, 1, 1)
    picture = tinted.astype(np.uint8) if kind == "uint8" else (tinted / 255).astype(np.float32)
    corrected = shades_of_grey(picture)
    assert corrected.dtype == picture.dtype
    means = sixth_mean(corrected)
    assert means.max() / means.min() < 1.01
    assert np.ptp(sixth_mean(picture)) > 10 * np.ptp(means)


def test_floats_and_bytes_agree(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 200, (3, 30, 30), dtype=np.uint8)
    as_floats = shades_of_grey((picture / 255).astype(np.float32)) * 255
    assert np.abs(shades_of_grey(picture) - as_floats).max() <= 0.51


def test_white_light_black_and_grey_pictures_stay(rng: np.random.Generator) -> None:
    white = np.repeat(rng.integers(0, 256, (1, 20, 20), dtype=np.uint8), 3, axis=0)
    assert np.array_equal(shades_of_grey(white), white)
    assert not shades_of_grey(np.zeros((3, 5, 5), np.uint8)).any()
    assert np.array_equal(shades_of_grey(white[:1]), white[:1])


def test_an_empty_channel_stays_empty() -> None:
    picture = np.zeros((3, 8, 8), np.uint8)
    picture[0] = 100
    corrected = shades_of_grey(picture)
    assert not corrected[1:].any()
    assert np.isfinite(corrected).all()


def test_the_recipe_applies_it_only_when_asked(rng: np.random.Generator) -> None:
    pixels = (rng.uniform(0, 120, (3, 16, 16)) * np.array([1.5, 1, 0.5]).reshape(3, 1, 1)).astype(np.uint8)
    image = Image(pixels, (float("nan"),) * 2, "OT", "drawn")
    plain = Recipe(size_px=(16, 16), channels=3)
    constant = plain.model_copy(update={"colour": "shades_of_grey"})
    assert np.array_equal(plain.apply(image), pixels)
    assert np.array_equal(constant.apply(image), shades_of_grey(pixels))
    assert plain.fingerprint() != constant.fingerprint()
