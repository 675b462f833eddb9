from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from resight.preprocess import Recipe
from resight.preprocess.intensity import Standardisation, standardise, subject_mask
from resight.types import Image

METHODS: tuple[Standardisation, ...] = get_args(Standardisation)


@pytest.fixture
def head(rng: np.random.Generator) -> np.ndarray:
    """A disc of tissue with a bright rim and a dark ventricle, in the dark, and a bright speck beside it."""
    y, x = np.mgrid[:96, :96] - 47.5
    radius = np.hypot(x, y)
    plane = np.where(radius < 35, 0.45, 0.02) + np.where((radius > 31) & (radius < 35), 0.2, 0.0)
    plane[radius < 6] = 0.05
    plane[3:6, 3:6] = 0.9
    return np.clip(plane + rng.normal(0, 0.01, plane.shape), 0, 1).astype(np.float32)


def test_mask_is_the_head_with_its_holes_and_without_the_speck(head: np.ndarray) -> None:
    y, x = np.mgrid[:96, :96] - 47.5
    disc = np.hypot(x, y) < 35
    mask = subject_mask(head)
    assert not mask[4, 4]
    assert mask[47, 47]
    assert (mask & disc).sum() / (mask | disc).sum() > 0.93


@pytest.mark.parametrize("method", METHODS)
def test_gain_and_offset_of_the_scanner_make_no_difference(head: np.ndarray, method: Standardisation) -> None:
    once = standardise(head[None], method)
    again = standardise((0.6 * head + 0.1)[None], method)
    assert np.abs(once - again).mean() < 1e-4


def test_z_score_puts_mean_and_deviation_where_it_says(head: np.ndarray) -> None:
    done = standardise(head[None], "z-score")[0]
    mask = subject_mask(head)
    subject = (head[mask] - head[mask].mean()) / head[mask].std()
    assert done[mask] == pytest.approx(np.clip(0.5 + subject / 6, 0, 1), abs=1e-5)
    assert not done[~mask].any()


def test_median_and_quartiles_lie_where_it_says(head: np.ndarray) -> None:
    mask = subject_mask(head)
    first, middle, third = np.percentile(head[mask], (25, 50, 75))
    done = standardise(head[None], "median")[0]
    assert done[mask] == pytest.approx(np.clip(0.5 + (head[mask] - middle) / (8 * (third - first)), 0, 1), abs=1e-5)
    assert not done[~mask].any()


def test_a_bright_finding_does_not_move_the_grey_of_all_else_by_the_median(head: np.ndarray) -> None:
    y, x = np.mgrid[:96, :96] - 47.5
    finding = np.hypot(x - 12, y - 12) < 4
    ill = np.where(finding, 1.0, 0.8 * head).astype(np.float32)
    rest = subject_mask(head) & ~finding
    moved = {m: np.abs(standardise(ill[None], m) - standardise(head[None], m))[0][rest].mean() for m in METHODS}
    assert moved["median"] < 0.003
    assert moved["z-score"] > 5 * moved["median"]


def test_percentiles_span_the_whole_range(head: np.ndarray) -> None:
    done = standardise(head[None], "percentile")[0][subject_mask(head)]
    assert (done == 0).mean() == pytest.approx(0.01, abs=0.003)
    assert (done == 1).mean() == pytest.approx(0.01, abs=0.003)


def test_image_without_contrast_stays_as_it_is() -> None:
    flat = np.full((1, 8, 8), 0.3, np.float32)
    for method in METHODS:
        assert (standardise(flat, method) == flat).all()


def test_recipe_standardises_bytes_and_floats_alike(head: np.ndarray) -> None:
    recipe = Recipe(size_px=(64, 64), intensity="z-score")
    grey = np.rint(head[None] * 255).astype(np.uint8)
    images = [Image(p, (np.nan, np.nan), "MR", "memory") for p in (grey, (grey / 255).astype(np.float32))]
    from_bytes, from_floats = (recipe.apply(image) for image in images)
    assert from_bytes.dtype == from_floats.dtype == np.uint8
    assert np.abs(from_bytes.astype(int) - from_floats).mean() < 1
    assert recipe.fingerprint() != Recipe(size_px=(64, 64)).fingerprint()


def test_volumes_have_a_subject_too() -> None:
    volume = np.zeros((1, 12, 12, 12), np.float32)
    volume[0, 3:9, 3:9, 3:9] = np.linspace(0.4, 0.8, 6)[:, None, None]
    done = standardise(volume, "z-score")
    assert done.shape == volume.shape
    assert done[0, 5, 5, 5] > 0
    assert done[0, 0, 0, 0] == 0
