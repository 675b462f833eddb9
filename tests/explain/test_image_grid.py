import cv2
import numpy as np
import pytest
import torch

from resight.explain import Explainer, build_explainer, explain_image, onto_image_grid
from resight.imaging import read
from resight.preprocess import Recipe
from resight.types import Image


class Brightness(Explainer):
    """The prepared image is the map: what comes back must lie where it lay."""

    def _explain(self, classifier, images):
        return classifier(images), images.expand(-1, 3, *images.shape[2:])


def _image(pixels, spacing=None):
    return Image(pixels, spacing or (1.0,) * (pixels.ndim - 1), "OT", "test")


def test_the_same_grid_gives_the_same_map(rng):
    maps = rng.random((2, 5, 7), dtype=np.float32)
    np.testing.assert_allclose(onto_image_grid(maps, np.eye(3), (5, 7)), maps, atol=1e-6)


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("space", [(90, 60), (61, 97), (20, 12)])
def test_a_spot_comes_back_to_its_place(small_classifier, resize, space):
    pixels = np.zeros((1, *space), np.uint8)
    row, column = space[0] // 2 + 3, space[1] // 2 - 2
    cv2.circle(pixels[0], (column, row), 3, 255, -1)
    recipe = Recipe(size_px=(32, 32), resize=resize)
    found = explain_image(
        Brightness(), small_classifier(), recipe, _image(pixels), labels=("a", "b", "c"), method="brightness"
    )
    assert [a.label for a in found] == ["a", "b", "c"]
    assert {a.method for a in found} == {"brightness"}
    evidence = found[0].map
    assert evidence.shape == space
    centre = (np.indices(space) * evidence).sum(axis=(1, 2)) / evidence.sum()
    np.testing.assert_allclose(centre, (row, column), atol=0.5)


def test_volumes_and_what_was_cropped_away(small_classifier):
    recipe = Recipe(size_px=(8, 16, 16), resize="crop")
    volume = np.full((1, 10, 40, 20), 200, np.uint8)
    (found, *_) = explain_image(
        Brightness(), small_classifier(dims=3, width=4), recipe, _image(volume), labels=("a", "b", "c"), method="x"
    )
    assert found.map.shape == (10, 40, 20)
    seen = np.flatnonzero(found.map.any(axis=(0, 2)))
    assert 18 <= len(seen) <= 22  # the longest axis was cut to the middle
    assert abs(seen.mean() - 19.5) <= 0.5
    np.testing.assert_allclose(found.map[:, seen], 200, atol=0.01)  # borders are not faded


def test_an_image_decoded_smaller_is_explained_at_its_full_size(small_classifier, tmp_path):
    pixels = np.zeros((400, 640), np.uint8)
    cv2.circle(pixels, (500, 120), 30, 255, -1)
    cv2.imwrite(str(tmp_path / "a.jpg"), pixels)
    image = read(tmp_path / "a.jpg", at_least_px=64)
    assert max(image.pixels.shape) < 640
    recipe = Recipe(size_px=(64, 64))
    found = explain_image(Brightness(), small_classifier(), recipe, image, labels=("a", "b", "c"), method="x")[0].map
    assert found.shape == (400, 640)
    centre = (np.indices(found.shape) * found).sum(axis=(1, 2)) / found.sum()
    np.testing.assert_allclose(centre, (120, 500), atol=2)


def test_gradcam_on_an_image(small_classifier, rng):
    pixels = rng.integers(0, 256, (1, 50, 70)).astype(np.uint8)
    classifier, recipe = small_classifier(), Recipe(size_px=(32, 32), resize="stretch")
    found = explain_image(
        build_explainer("gradcam"), classifier, recipe, _image(pixels), labels=("a", "b", "c"), method="gradcam"
    )
    direct = build_explainer("gradcam").explain(classifier, torch.from_numpy(recipe.apply(_image(pixels)))[None])
    assert direct.max() > 0
    for attribution, prepared in zip(found, direct[0], strict=True):
        assert attribution.map.max() == pytest.approx(float(prepared.max()), rel=0.1)
