"""One linear interpolation of volumes, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from resight.preprocess import Augmentation, AugmentParams
from resight.preprocess.volume_warp import warp_volume

STILL = (False, False, False)


@pytest.fixture
def volume(rng: np.random.Generator) -> np.ndarray:
    smooth = ndimage.gaussian_filter(rng.random((20, 30, 25)), 1.5)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.mark.parametrize(
    "params",
    [
        AugmentParams(STILL, tilt_deg=(25, -40), rotate_deg=70, scale=1.3, shift=(0.1, -0.2, 0.05)),
        AugmentParams((True, False, True), tilt_deg=(3, 0)),
        AugmentParams(STILL, rotate_deg=20, scale=0.8),
        AugmentParams(STILL, shift=(2.0, 0.0, 0.0)),
    ],
)
@pytest.mark.parametrize("size_px", [(20, 30, 25), (10, 15, 12), (33, 7, 40)])
def test_every_voxel_is_what_scipy_finds(
    volume: np.ndarray, params: AugmentParams, size_px: tuple[int, int, int]
) -> None:
    found = Augmentation().apply(volume[None], params, size_px)[0]
    scale = np.divide(volume.shape, size_px)
    coarser = np.diag([*scale, 1.0])
    coarser[:3, 3] = (scale - 1) / 2
    matrix = params.matrix(volume.shape) @ coarser
    expected = ndimage.affine_transform(
        volume.astype(float), matrix[:3, :3], matrix[:3, 3], output_shape=size_px, order=1, mode="grid-constant"
    )
    assert np.abs(found - expected).max() < 2.5  # OpenCV counts in 1/32 pixels
    assert np.abs(found - expected).mean() < 0.5


def test_a_volume_too_tall_for_one_picture_is_done_in_parts(rng: np.random.Generator) -> None:
    volume = np.repeat(rng.integers(0, 255, (4, 900, 1), np.uint8), 3, axis=2)
    volume = np.concatenate([volume] * 20)  # 80 slices of 902 rows
    turn = AugmentParams(STILL, tilt_deg=(0.001, 0))
    found = warp_volume(volume, turn.matrix(volume.shape), volume.shape)
    inside = (slice(1, -1), slice(None), slice(1, -1))
    assert np.abs(found[inside].astype(int) - volume[inside]).mean() < 4


def test_a_tilt_turns_the_depth_into_the_plane(volume: np.ndarray) -> None:
    cube = volume[:20, :20, :20][None]
    turned = Augmentation().apply(cube, AugmentParams(STILL, tilt_deg=(90, 0)))
    difference = turned[0].astype(int) - np.rot90(cube[0])
    assert np.abs(difference).max() <= 1


def test_tilting_changes_nothing_else_that_is_drawn() -> None:
    plain = Augmentation(rotate_deg=10, noise=0.1).sample(np.random.default_rng(3), (1, 8, 8, 8))
    tilted = Augmentation(rotate_deg=10, noise=0.1, tilt_deg=20).sample(np.random.default_rng(3), (1, 8, 8, 8))
    assert plain.tilt_deg == (0, 0)
    assert 0 < max(map(abs, tilted.tilt_deg)) <= 20
    assert (plain.rotate_deg, plain.noise_seed, plain.shift) == (tilted.rotate_deg, tilted.noise_seed, tilted.shift)


def test_pictures_are_brought_to_a_grid_too(rng: np.random.Generator) -> None:
    picture = np.kron(rng.integers(0, 255, (1, 8, 8), np.uint8), np.ones((1, 2, 2), np.uint8))
    found = Augmentation().apply(picture, AugmentParams((False, False)), (8, 8))
    assert np.array_equal(found, picture[:, ::2, ::2])
