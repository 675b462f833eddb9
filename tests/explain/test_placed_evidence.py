"""One plane at a time gives what the whole volume gives, in whichever order it was stored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from resight.explain import PlacedEvidence, onto_image_grid, telling_slices
from resight.imaging.geometry import as_stored, from_lps, to_lps
from resight.preprocess import Recipe
from resight.types import Image, Step

SPACE = (10, 40, 20)


@pytest.fixture
def placed(rng: np.random.Generator) -> PlacedEvidence:
    recipe = Recipe(size_px=(8, 16, 16))
    image = Image(np.zeros((1, *SPACE), np.uint8), (3.0, 1.0, 1.0), "CT", "test")
    maps = cv2.GaussianBlur(rng.random((16, 16, 16)).astype(np.float32), (5, 5), 1)[:, :, :16].reshape(2, 8, 16, 16)
    return PlacedEvidence(("a", "b"), maps, recipe.grid(image), SPACE)


def whole(placed: PlacedEvidence, label: str) -> np.ndarray:
    return onto_image_grid(placed.maps[[placed.labels.index(label)]], placed.grid, placed.space)[0]


def test_planes_are_those_of_the_whole_volume(placed: PlacedEvidence) -> None:
    for label in placed.labels:
        planes = np.stack([placed.plane(label, place) for place in range(SPACE[0])])
        np.testing.assert_allclose(planes, whole(placed, label), atol=1e-6)


@pytest.mark.parametrize("axes", ["+0+1+2", "-0+1+2", "+1-2+0", "-2-0+1"])
def test_a_volume_stored_in_another_order_gets_the_same_values_in_that_order(placed: PlacedEvidence, axes: str) -> None:
    stored, _ = from_lps(whole(placed, "b")[None], np.eye(4), axes)
    turned = placed.turned(axes)
    assert turned.space == stored.shape[1:]
    planes = np.stack([turned.plane("b", place) for place in range(turned.space[0])])
    np.testing.assert_allclose(planes, stored[0], atol=1e-5)


def test_an_image_in_the_order_it_was_stored_in_is_the_one_before_it_was_turned(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (1, 3, 4, 5)).astype(np.uint8)
    affine = np.array([[0.0, 0, 0.5, 7], [0, -2, 0, 8], [3, 0, 0, 9], [0, 0, 0, 1]])[[2, 0, 1, 3]]
    turned, matrix, done = to_lps(pixels, affine, "test")
    assert done["axes"] != "+0+1+2"
    image = as_stored(Image(turned, (1.0, 1.0, 1.0), "MR", "test", (Step("to LPS", done),), matrix))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine, affine)
    assert image.spacing_mm == pytest.approx((3.0, 2.0, 0.5))


def test_on_another_size_a_spot_stays_where_it_is(placed: PlacedEvidence) -> None:
    maps = np.zeros_like(placed.maps)
    maps[0, 4, 8, 8] = 1
    spot = PlacedEvidence(placed.labels, maps, placed.grid, SPACE)
    half = spot.on((10, 20, 10))

    def centre(found: np.ndarray) -> np.ndarray:
        return (np.indices(found.shape) * found).sum(axis=(1, 2)) / found.sum()

    place = int(spot.profile("a").argmax())
    np.testing.assert_allclose(centre(spot.plane("a", place)), centre(half.plane("a", place)) * 2 + 0.5, atol=0.2)
    assert int(half.profile("a").argmax()) == place


def test_the_profile_is_the_strongest_of_each_slice(placed: PlacedEvidence) -> None:
    np.testing.assert_allclose(placed.profile("a"), whole(placed, "a").max(axis=(1, 2)).clip(min=0), atol=1e-6)
    flat = PlacedEvidence(("a",), np.ones((1, 4, 4), np.float32), np.eye(3), (4, 4))
    assert flat.profile("a").tolist() == [1.0]
    assert (flat.plane("a") == 1).all()


def test_telling_slices_are_strong_and_apart() -> None:
    profile = np.zeros(60)
    profile[[10, 11, 40]] = 5, 4.9, 3
    assert telling_slices(profile, 3) == [10, 40]
    assert telling_slices(np.ones(3), 3) == [0, 1, 2]
    assert telling_slices(np.zeros(9), 3) == []
