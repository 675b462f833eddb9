"""A search on pixels finds what a score reads in corners, frames and colours, and is quiet where it reads anatomy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resight.errors import DataError
from resight.fairness import PixelOptions, search_pixels

N, SIDE = 200, 40


@pytest.fixture
def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright spot in the middle where the finding is, and a plate in the upper left corner with it."""
    pixels = rng.integers(60, 120, (N, 1, SIDE, SIDE)).astype(np.uint8)
    targets = (rng.random(N) < 0.5).astype(float)
    pixels[targets == 1, :, 18:24, 18:24] += 60
    marked = rng.random(N) < np.where(targets == 1, 0.9, 0.1)
    pixels[marked, :, 1:5, 1:5] = 240
    return pixels, targets[:, None]


def middle(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 18:24, 18:24].mean(axis=(1, 2, 3)) / 20)[:, None]


def corner(pixels: np.ndarray) -> np.ndarray:
    return middle(pixels) + (pixels[..., 1:5, 1:5].mean(axis=(1, 2, 3)) / 10)[:, None]


def search(pixels: np.ndarray, predict: object, targets: np.ndarray, **options: object) -> list:
    patients = np.arange(len(pixels)) // 2
    mask = np.ones(targets.shape, bool)
    return list(search_pixels(pixels, predict, targets, mask, ("mass",), patients, PixelOptions(**options)))


def test_a_score_that_reads_the_corner_is_exposed_where_it_reads(images) -> None:
    pixels, targets = images
    found = search(pixels, corner, targets)
    suspects = {test.change for test in found if test.suspect}
    assert "upper left corner exchanged between patients" in suspects
    assert "bright plate put into the upper left corner" in suspects
    assert "all but the frame exchanged between patients" in suspects
    assert not any("right corner" in change or "lower" in change for change in suspects)
    lost = next(test for test in found if test.change.startswith("upper left corner"))
    assert lost.value.low > 0.05
    # p is corrected: the largest of the family cannot be below its own uncorrected one
    assert all(test.p <= 1 or math.isnan(test.p) for test in found)
    assert found[0].suspect  # suspicions first


def test_a_score_that_reads_anatomy_is_left_alone(images) -> None:
    pixels, targets = images
    found = search(pixels, middle, targets)
    assert not any(test.suspect for test in found)
    assert all(test.value.value == 0 for test in found if test.measure == "AUROC lost")


def test_false_alarms_of_a_score_of_noise_are_rare() -> None:
    """60 searches in a score that depends on every pixel a little and on none much."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 255, (80, 1, 20, 20)).astype(np.uint8)
        targets = (rng.random((80, 1)) < 0.5).astype(float)
        weights = rng.normal(size=(20, 20)) / 255
        alarms += any(
            test.suspect
            for test in search(pixels, lambda p, w=weights: (p * w).sum(axis=(1, 2, 3))[:, None], targets)
            if test.measure != "shift of the score"
        )
    assert alarms <= 3  # 5 %


def test_colour_that_tells_the_label_is_exposed(rng: np.random.Generator) -> None:
    targets = (rng.random((N, 1)) < 0.5).astype(float)
    pixels = np.repeat(rng.integers(60, 120, (N, 1, SIDE, SIDE)), 3, axis=1).astype(np.uint8)
    tinted = rng.random(N) < np.where(targets[:, 0] == 1, 0.8, 0.2)
    pixels[tinted, 0] += 20
    found = search(pixels, lambda p: (p[:, 0].mean(axis=(1, 2)) - p[:, 2].mean(axis=(1, 2)))[:, None], targets)
    (colour,) = [test for test in found if test.change == "colour taken away"]
    assert colour.suspect
    grey = np.repeat(pixels[:, :1], 3, axis=1)
    assert not [test for test in search(grey, middle, targets) if test.change == "colour taken away"]


def test_pixels_come_from_other_patients_and_volumes_are_changed_slice_by_slice(rng: np.random.Generator) -> None:
    owner = np.repeat(np.arange(20), 3)
    pixels = np.broadcast_to(owner[:, None, None, None, None].astype(np.uint8), (60, 1, 2, 10, 10)).copy()
    seen: list[np.ndarray] = []

    def predict(given: np.ndarray) -> np.ndarray:
        seen.append(given)
        return given.mean(axis=(1, 2, 3, 4))[:, None]

    targets = np.tile([0.0, 1.0], 30)[:, None]
    search_pixels(pixels, predict, targets, np.ones((60, 1), bool), ("a",), owner)
    exchanged = seen[1]  # the upper left corner
    assert (exchanged[..., 0, 0] != pixels[..., 0, 0]).all()
    assert (exchanged[..., -1, -1] == pixels[..., -1, -1]).all()


def test_few_patients_are_not_tested(images) -> None:
    pixels, targets = images
    found = search(pixels[:12], corner, targets[:12])
    assert all(math.isnan(test.value.value) and not test.suspect for test in found)
    assert all("fewer than 10" in test.value.undefined_because for test in found)
    with pytest.raises(DataError, match="one patient"):
        search_pixels(pixels[:4], corner, targets[:4], np.ones((4, 1), bool), ("mass",), np.zeros(4, int))
