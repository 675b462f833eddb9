from __future__ import annotations

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.preprocess import Augmentation, AugmentParams, Mixup

_ALL_ON = Augmentation(
    flip=0.5, flip_vertical=0.5, rotate_deg=20, scale=0.2, crop=0.7, translate=0.1, shear_deg=10, gain=0.3, offset=0.1,
    gamma=0.3, noise=0.05, blur_px=1.5, hue_deg=30, saturation=0.4, erase=0.5,
)  # fmt: skip
_STILL = AugmentParams(flips=(False, False))


def _smooth(size: int = 64, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(3)
    planes = [cv2.GaussianBlur(rng.uniform(0, 255, (size, size)), (0, 0), 4) for _ in range(channels)]
    array = np.stack(planes)
    return ((array - array.min()) / np.ptp(array) * 255).astype(np.uint8)


@given(st.integers(0, 2**32), st.sampled_from([(1, 24, 30), (3, 24, 30), (1, 6, 20, 16)]))
@settings(max_examples=60, deadline=None)
def test_apply_is_pure(seed: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    before = array.copy()
    params = _ALL_ON.sample(np.random.default_rng(seed), shape)
    first, second = _ALL_ON.apply(array, params), _ALL_ON.apply(array, params)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(array, before)
    assert first.shape == shape
    assert first.dtype == np.uint8
    assert params == _ALL_ON.sample(np.random.default_rng(seed), shape)
    assert json.loads(json.dumps(asdict(params)))["rotate_deg"] == params.rotate_deg


@pytest.mark.parametrize("shape", [(1, 9, 12), (3, 9, 12), (1, 5, 9, 12)])
def test_all_off_is_the_identity_on_a_copy(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    off = Augmentation()
    result = off.apply(array, off.sample(rng, shape))
    np.testing.assert_array_equal(result, array)
    result[...] = 0
    assert array.any()


def test_one_switch_leaves_the_others_draws_alone() -> None:
    shape = (1, 8, 8)
    alone = Augmentation(rotate_deg=10).sample(np.random.default_rng(7), shape)
    more = Augmentation(rotate_deg=10, flip=0.5, noise=0.1, erase=0.3).sample(np.random.default_rng(7), shape)
    assert alone.rotate_deg == more.rotate_deg != 0


@given(
    st.booleans(), st.booleans(), st.floats(-25, 25), st.floats(0.8, 1.3), st.floats(-12, 12), st.floats(-0.1, 0.1),
    st.floats(-0.1, 0.1),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_one_warp_equals_one_after_the_other(
    up: bool, left: bool, turn: float, scale: float, slant: float, down: float, right: float
) -> None:
    image = _smooth(96)
    steps = (
        replace(_STILL, flips=(up, left)),
        replace(_STILL, shear_deg=slant),
        replace(_STILL, rotate_deg=turn),
        replace(_STILL, scale=scale),
        replace(_STILL, shift=(down, right)),
    )
    sequential = image
    for step in steps:
        sequential = Augmentation().apply(sequential, step)
    params = AugmentParams((up, left), turn, scale, slant, (down, right))
    fused = Augmentation().apply(image, params)
    # what left the picture and came back in is lost on the way only step by step: compare the middle
    inner = np.s_[:, 34:62, 34:62]
    assert np.abs(fused[inner].astype(int) - sequential[inner]).mean() < 2.5
    matrix = np.eye(3)
    for step in steps:
        matrix = matrix @ step.matrix((96, 96))
    np.testing.assert_allclose(params.matrix((96, 96)), matrix, atol=1e-9)


def test_flips_are_exact_and_turns_go_the_stated_way(rng: np.random.Generator) -> None:
    array = rng.integers(0, 256, (2, 15, 15), dtype=np.uint8)
    apply = Augmentation().apply
    np.testing.assert_array_equal(apply(array, AugmentParams((False, True))), array[:, :, ::-1])
    np.testing.assert_array_equal(apply(array, AugmentParams((True, False))), array[:, ::-1])
    turned = apply(array, AugmentParams((False, False), rotate_deg=90))
    np.testing.assert_array_equal(turned, np.rot90(array, axes=(1, 2)))  # counter-clockwise
    shifted = apply(array, AugmentParams((False, False), shift=(0.0, 0.2)))
    np.testing.assert_array_equal(shifted[:, :, 3:], array[:, :, :-3])
    assert (shifted[:, :, :3] == 0).all()


def test_volume_flips_shifts_and_turns(rng: np.random.Generator) -> None:
    array = rng.integers(0, 256, (1, 5, 9, 9), dtype=np.uint8)
    apply = Augmentation().apply
    np.testing.assert_array_equal(apply(array, AugmentParams((True, False, True))), array[:, ::-1, :, ::-1])
    deeper = apply(array, AugmentParams((False, False, False), shift=(0.2, 0.0, 0.0)))
    np.testing.assert_array_equal(deeper[:, 1:], array[:, :-1])
    assert (deeper[:, 0] == 0).all()
    turned = apply(array, AugmentParams((False, False, False), rotate_deg=90))
    np.testing.assert_array_equal(turned, np.rot90(array, axes=(2, 3)))


def test_crop_stays_inside_the_picture() -> None:
    crop = Augmentation(crop=0.4)
    white = np.full((1, 50, 40), 255, np.uint8)
    scales = []
    for seed in range(60):
        params = crop.sample(np.random.default_rng(seed), white.shape)
        assert (crop.apply(white, params)[:, 1:-1, 1:-1] == 255).all()
        scales.append(params.scale)
    assert 1 <= min(scales) < 1.05
    assert 1.4 < max(scales) <= 0.4**-0.5 + 1e-9


def test_grey_changes_follow_their_formula() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    changed = Augmentation().apply(ramp, replace(_STILL, gain=1.2, offset=0.05, gamma=1.1))
    level = np.clip(1.2 * (ramp / 255 - 0.5) + 0.55, 0, 1) ** 1.1
    np.testing.assert_allclose(changed, 255 * level, atol=0.5001)


def test_colour_changes_keep_grey_grey_and_a_full_turn_changes_nothing(rng: np.random.Generator) -> None:
    grey = np.repeat(rng.integers(0, 256, (1, 8, 8), dtype=np.uint8), 3, axis=0)
    colour = rng.integers(60, 190, (3, 8, 8), dtype=np.uint8)
    turned = replace(_STILL, hue_deg=77.0, saturation=0.5)
    np.testing.assert_array_equal(Augmentation().apply(grey, turned), grey)
    np.testing.assert_array_equal(Augmentation().apply(colour, replace(_STILL, hue_deg=360.0)), colour)
    none = Augmentation().apply(colour, replace(_STILL, saturation=0.0))
    assert np.ptp(none, axis=0).max() == 0


def test_noise_and_erasing_do_what_they_say() -> None:
    grey = np.full((1, 100, 100), 100, np.uint8)
    noisy = Augmentation().apply(grey, replace(_STILL, noise=0.04, noise_seed=5))
    assert abs(noisy.std() - 0.04 * 255) < 0.5
    erased = Augmentation().apply(grey, replace(_STILL, erased=(0.1, 0.2, 0.3, 0.4)))
    assert (erased[:, 10:40, 20:60] == 128).all()
    assert (erased == 128).sum() == 30 * 40


@given(st.integers(0, 2**32), st.integers(1, 9), st.floats(0.05, 4))
@settings(max_examples=50, deadline=None)
def test_mixup_conserves_mass(seed: int, batch: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    images, targets = rng.uniform(0, 255, (batch, 1, 6, 5)), rng.integers(0, 2, (batch, 3)).astype(float)
    mixup = Mixup(alpha=alpha)
    mixed, soft = mixup.apply(images, targets, mixup.sample(rng, batch))
    np.testing.assert_allclose(mixed.sum(axis=0), images.sum(axis=0))
    np.testing.assert_allclose(soft.sum(axis=0), targets.sum(axis=0))
    assert soft.min() >= 0
    assert soft.max() <= 1


def test_mixup_off_and_unknown_targets(rng: np.random.Generator) -> None:
    images, targets = np.arange(4.0).reshape(4, 1), np.array([[np.nan], [1.0], [0.0], [1.0]])
    off = Mixup()
    assert off.apply(images, targets, off.sample(rng, 4))[0] is images
    on = Mixup(alpha=1.0)
    params = on.sample(rng, 4)
    _, soft = on.apply(images, targets, params)
    unknown = np.isnan(targets[:, 0]) | np.isnan(targets[params.partner, 0])
    np.testing.assert_array_equal(np.isnan(soft[:, 0]), unknown)


def test_turns_of_a_volume_with_thick_slices_are_turns_in_millimetres() -> None:
    spacing = np.array([4.0, 1.0, 2.0])
    params = AugmentParams((False, True, False), rotate_deg=25.0, tilt_deg=(15.0, -20.0), shift=(0.1, 0.0, -0.05))
    linear = params.matrix((6, 24, 12), spacing)[:3, :3]
    in_mm = np.diag(spacing) @ linear @ np.diag(1 / spacing)
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)
    assert np.abs(linear @ linear.T - np.eye(3)).max() > 0.1, "in voxels it is a slant"
    np.testing.assert_allclose(params.matrix((6, 24, 12), (3, 3, 3)), params.matrix((6, 24, 12)), atol=1e-12)


def test_a_turned_ball_stays_a_ball_where_slices_are_thick() -> None:
    spacing = np.array([4.0, 1.0, 1.0])
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip((16, 64, 64), spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    ball = (255 * np.clip(22 - np.sqrt(z**2 + y**2 + x**2), 0, 1)).astype(np.uint8)[None]
    params = AugmentParams((False,) * 3, tilt_deg=(40.0, 0.0))
    kept, slanted = (
        np.abs(Augmentation().apply(ball, params, spacing=s).astype(int) - ball).mean() for s in (spacing, None)
    )
    assert kept < 0.2 * slanted
