"""Planted text is seen in every corner, light and dark; markers, ribs, rulers and noise are not taken for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.imaging.burned_in import text_rows

FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_PLAIN)


@pytest.fixture
def chest() -> np.ndarray:
    """Bands like ribs over a soft shadow, with grain."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :512] / 480
    soft = 90 + 60 * np.sin(3 * columns) + 25 * np.sin(60 * rows + 6 * columns)
    return (soft + rng.normal(0, 4, soft.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize(("place", "ink"), [((10, 30), 255), ((250, 30), 255), ((10, 460), 0), ((120, 240), 255)])
def test_a_name_is_seen_and_where_it_stands(chest: np.ndarray, font: int, place: tuple[int, int], ink: int) -> None:
    scale = 1.4 if font == cv2.FONT_HERSHEY_PLAIN else 0.7
    cv2.putText(chest, "DOE^JANE 0472", place, font, scale, ink, 1, cv2.LINE_AA)
    rows = text_rows(chest[None])
    assert rows
    left, top, width, height = rows[0].box
    assert abs(left * 512 - place[0]) < 40
    assert abs((top + height) * 480 - place[1]) < 12
    assert width * 512 > 60


def test_an_image_without_text_has_none_and_markers_are_none(chest: np.ndarray) -> None:
    assert text_rows(chest[None]) == []
    for place, words in (((20, 60), "L"), ((440, 60), "AP"), ((20, 440), "R")):
        cv2.putText(chest, words, place, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2, cv2.LINE_AA)
    assert text_rows(chest[None]) == []


def test_rulers_and_wires_and_noise_are_no_text(chest: np.ndarray) -> None:
    for mark in range(20):
        cv2.line(chest, (500, 20 + 20 * mark), (511, 20 + 20 * mark), 255, 1)
    cv2.polylines(chest, [np.array([[0, 300], [120, 250], [260, 330], [511, 280]])], False, 255, 2)
    assert text_rows(chest[None]) == []
    noise = np.random.default_rng(1).integers(0, 255, (1, 300, 300)).astype(np.uint8)
    assert text_rows(noise) == []


def test_one_row_is_counted_once_and_two_are_two(chest: np.ndarray) -> None:
    for line in (40, 80):
        cv2.putText(chest, "4471203 OBRIEN", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    rows = text_rows(chest[None].astype(np.float32) / 255)
    assert len(rows) == 2
    assert rows[0].box[1] < rows[1].box[1]
    assert all(row.letters >= 8 for row in rows)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 255))
def test_any_shape_is_looked_at(height: int, width: int, channels: int, level: int) -> None:
    assert text_rows(np.full((channels, height, width), level, np.uint8)) == []
