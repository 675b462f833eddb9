from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resight.preprocess import geometry
from resight.preprocess.geometry import Resize, fit, place, to_original

_UNKNOWN = (math.nan, math.nan)
_sides = st.integers(20, 300)
_modes = st.sampled_from(["letterbox", "stretch", "crop"])


@given(_sides, _sides, st.integers(16, 128), st.integers(16, 128), _modes)
@settings(max_examples=60, deadline=None)
def test_brightness_lands_where_the_matrix_says(h: int, w: int, out_h: int, out_w: int, mode: Resize) -> None:
    """The centre of mass of a smooth blob in the middle, prepared and mapped back, is the centre of the original."""
    rows, columns = np.mgrid[:h, :w]
    centre = (h * 0.52, w * 0.47)
    blob = np.exp(-(((rows - centre[0]) / (h * 0.08)) ** 2) - ((columns - centre[1]) / (w * 0.08)) ** 2)
    axes = fit((h, w), (out_h, out_w), mode, spacing_mm=_UNKNOWN)
    prepared = place(blob[None].astype(np.float32), axes)[0]
    assert prepared.shape == (out_h, out_w)
    found = [float((prepared * index).sum() / prepared.sum()) for index in np.mgrid[:out_h, :out_w]]
    back = to_original(axes) @ [*found, 1.0]
    step = max(axis.step for axis in axes)
    if mode == "crop" and min(axis.stop - axis.start for axis in axes) < 0.5 * max(h, w):
        return  # the blob may be cut
    np.testing.assert_allclose(back[:2], centre, atol=0.35 + 0.25 * step)


@given(_sides, _sides, st.integers(8, 128), st.integers(8, 128))
@settings(max_examples=60, deadline=None)
def test_letterbox_keeps_proportions_and_everything(h: int, w: int, out_h: int, out_w: int) -> None:
    axes = fit((h, w), (out_h, out_w), "letterbox", spacing_mm=_UNKNOWN)
    assert [(a.start, a.stop) for a in axes] == [(0, h), (0, w)]
    assert any(a.target == a.size for a in axes)
    for axis, ideal in zip(axes, (h, w), strict=True):
        step = max(h / out_h, w / out_w)
        assert abs(axis.target - ideal / step) <= 1
        assert 0 <= axis.pad <= axis.size - axis.target


def test_letterbox_pads_with_black_on_both_sides() -> None:
    prepared = place(np.full((1, 100, 50), 200, np.uint8), fit((100, 50), (64, 64), "letterbox", spacing_mm=_UNKNOWN))
    assert (prepared[0, :, :16] == 0).all()
    assert (prepared[0, :, 16:48] == 200).all()
    assert (prepared[0, :, 48:] == 0).all()


def test_crop_keeps_the_middle() -> None:
    image = np.zeros((1, 60, 120), np.uint8)
    image[0, :, 30:90] = 255
    assert (place(image, fit((60, 120), (30, 30), "crop", spacing_mm=_UNKNOWN)) == 255).all()


@pytest.mark.parametrize("shape", [(1024, 1024), (1022, 767), (500, 333)])
def test_shrinking_does_not_alias(shape: tuple[int, int], rng: np.random.Generator) -> None:
    """A fine checkerboard becomes grey; nearest or linear sampling would leave stripes."""
    board = (np.indices(shape).sum(axis=0) % 2 * 255).astype(np.uint8)
    prepared = place(board[None], fit(shape, (96, 96), "stretch", spacing_mm=_UNKNOWN))
    assert prepared.std() < 12
    assert abs(prepared.mean() - 127.5) < 3


@given(_sides, _sides, st.integers(1, 128), st.integers(1, 128), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_averages_are_those_of_opencv_to_the_last_bit(
    h: int, w: int, out_h: int, out_w: int, channels: int, in_bytes: bool
) -> None:
    out_h, out_w = min(out_h, h), min(out_w, w)
    assume(h % out_h or w % out_w)  # whole pixels are left to OpenCV
    image = np.random.default_rng(h * w).integers(0, 256, (h, w, channels), dtype=np.uint8)
    image = image if in_bytes else (image / 255).astype(np.float32)
    expected = cv2.resize(image, (out_w, out_h), interpolation=cv2.INTER_AREA).reshape(out_h, out_w, channels)
    np.testing.assert_array_equal(geometry._averaged(image, (out_h, out_w)), expected)


def test_a_large_image_is_averaged_in_strips(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (3, 203, 151), dtype=np.uint8)
    axes = fit((203, 151), (64, 64), "stretch", spacing_mm=_UNKNOWN)
    whole = place(image, axes)
    monkeypatch.setattr(geometry, "_STRIP_VALUES", 10 * 3 * 151)  # 22 strips, the last one thinner
    np.testing.assert_array_equal(place(image, axes), whole)


def test_anisotropic_pixels_are_letterboxed_in_millimetres() -> None:
    axes = fit((100, 100), (64, 64), "letterbox", spacing_mm=(1.0, 0.5))
    assert [a.target for a in axes] == [64, 32]


def test_volume_is_brought_to_a_spacing_cut_and_padded() -> None:
    volume = np.full((1, 20, 100, 100), 99, np.uint8)
    axes = fit((20, 100, 100), (32, 40, 40), "letterbox", spacing_mm=(2.0, 1.0, 1.0), target_spacing_mm=(2.0, 2.0, 2.0))
    prepared = place(volume, axes)
    assert [a.target for a in axes] == [20, 40, 40]  # depth padded, the planes cut from 50 to 40
    assert (axes[1].start, axes[1].stop) == (10, 90)
    assert (prepared[0, 6:26] == 99).all()
    assert (prepared[0, :6] == 0).all()


def test_volume_equals_its_planes_when_depth_stays(rng: np.random.Generator) -> None:
    volume = rng.integers(0, 256, (2, 5, 40, 30), dtype=np.uint8)
    whole = place(volume, fit((5, 40, 30), (5, 20, 20), "stretch", spacing_mm=(math.nan,) * 3))
    axes = fit((40, 30), (20, 20), "stretch", spacing_mm=_UNKNOWN)
    for depth in range(5):
        np.testing.assert_array_equal(whole[:, depth], place(volume[:, depth], axes))


def test_colour_channels_do_not_mix(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (3, 64, 48), dtype=np.uint8)
    axes = fit((64, 48), (20, 30), "letterbox", spacing_mm=_UNKNOWN)
    together = place(image, axes)
    for channel in range(3):
        np.testing.assert_array_equal(together[channel], place(image[channel : channel + 1], axes)[0])
