"""Several images of one patient lie on one grid, or are told why not, or are brought there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from resight.errors import ImageError
from resight.preprocess import Modality, Recipe, Store
from resight.preprocess.registered import registered
from resight.types import Image

NAMES = ("ct", "pet")


def _volume(shape: tuple[int, ...], spacing: tuple[float, ...], origin=(0.0, 0.0, 0.0), turn_deg: float = 0.0) -> Image:
    """A smooth ball at a place that the millimetres tell, whatever the grid."""
    angle = np.deg2rad(turn_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(spacing)[:, [0, 1, 2]], origin
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    place = (index @ affine.T)[..., :3]
    ball = np.exp(-((place - 20.0) ** 2).sum(-1) / (2 * 6.0**2)).astype(np.float32)
    return Image(ball[None], spacing, "CT", "scan", affine=affine)


def test_what_lies_on_one_grid_is_left_alone() -> None:
    a, b = _volume((20, 20, 20), (2.0, 2.0, 2.0)), _volume((20, 20, 20), (2.0, 2.0, 2.0))
    found = registered([a, b], NAMES, "require")
    assert found[0] is a
    assert found[1] is b


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (_volume((20, 20, 10), (2.0, 2.0, 4.0)), "it has 20x20x10 points instead of 20x20x20"),
        (_volume((20, 20, 20), (2.0, 2.0, 2.5)), "its spacing is 2x2x2.5 mm instead of 2x2x2 mm"),
        (_volume((20, 20, 20), (2.0, 2.0, 2.0), origin=(0, 0, 7.0)), "it lies 7 mm away"),
        (_volume((20, 20, 20), (2.0, 2.0, 2.0), turn_deg=10), "its axes are turned by 10.0 degrees"),
    ],
)
def test_another_grid_is_named_and_resampled_on_request(other: Image, message: str) -> None:
    reference = _volume((20, 20, 20), (2.0, 2.0, 2.0))
    with pytest.raises(ImageError) as caught:
        registered([reference, other], NAMES, "require")
    assert f"pet does not lie on the grid of ct: {message}" in str(caught.value)
    assert "recipe.align" in str(caught.value)
    moved = registered([reference, other], NAMES, "resample")[1]
    assert moved is not None
    assert moved.pixels.shape == reference.pixels.shape
    assert moved.history[-1].name == "resampled"
    middle = ndimage.center_of_mass(moved.pixels[0] ** 4)
    np.testing.assert_allclose(middle, ndimage.center_of_mass(reference.pixels[0] ** 4), atol=0.25)


def test_a_twentieth_of_a_voxel_is_the_same_grid_and_half_a_voxel_is_not() -> None:
    reference, near, apart = (_volume((20, 20, 20), (2.0, 2.0, 2.0), origin=(0, 0, mm)) for mm in (0.0, 0.1, 1.0))
    assert registered([reference, near], NAMES, "require")[1] is near
    with pytest.raises(ImageError, match="it lies 1 mm away"):
        registered([reference, apart], NAMES, "require")


def test_grids_without_anything_in_common_are_refused() -> None:
    far = _volume((20, 20, 20), (2.0, 2.0, 2.0), origin=(500.0, 0, 0))
    with pytest.raises(ImageError, match="pet covers no part of the grid"):
        registered([_volume((20, 20, 20), (2.0, 2.0, 2.0)), far], NAMES, "resample")


def test_pictures_say_nothing_of_their_place() -> None:
    nan = float("nan")
    a, b = (Image(np.full((1, n, n), 9, np.uint8), (nan, nan), "DX", f"{n}.png") for n in (16, 20))
    with pytest.raises(ImageError, match="Pictures say nothing of their place"):
        registered([a, b], NAMES, "resample")
    assert registered([a, b], NAMES, "independent") == [a, b]
    volume = _volume((4, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(ImageError, match="pictures only, or volumes only"):
        registered([a, volume], NAMES, "independent")


def test_nothing_at_all_is_an_error() -> None:
    with pytest.raises(ImageError, match="no image of any modality"):
        registered([None, None], NAMES, "require")


def test_a_store_holds_modalities_side_by_side_and_missing_ones_as_black(tmp_path: Path) -> None:
    recipe = Recipe(size_px=(16, 16), modalities=(Modality(name="a"), Modality(name="b")))
    paths = []
    for number, grey in enumerate((60, 200)):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), np.full((16, 16), grey, np.uint8))
    files = [(paths[0], paths[1]), (paths[0], None), (None, paths[1])]
    store = Store.build(files, recipe, tmp_path / "store", workers=1)
    assert store.images.shape == (3, 2, 16, 16)
    np.testing.assert_array_equal(store.images[:, :, 8, 8], [[60, 200], [60, 0], [0, 200]])
    assert Store.build(files, recipe, tmp_path / "store").stale(files, recipe) == ""
    assert store.stale(files[::-1], recipe) != ""


def test_a_recipe_of_several_modalities_wants_as_many_files(tmp_path: Path) -> None:
    recipe = Recipe(size_px=(16, 16), modalities=(Modality(name="a"), Modality(name="b")))
    with pytest.raises(ImageError, match=r"1 image\(s\) of a patient; expected 2 \(a, b\)"):
        recipe.prepare(tmp_path / "x.png")
    assert Recipe().fingerprint() == Recipe(align="resample").fingerprint()
    assert recipe.fingerprint() != recipe.model_copy(update={"align": "resample"}).fingerprint()
