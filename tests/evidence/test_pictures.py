"""Images inside the page are the images, small."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from resight.evidence.pictures import data_uris


def _decode(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def test_grey_stays_grey_and_colours_keep_their_order() -> None:
    y, x = np.mgrid[0:64, 0:80]
    grey = (x * 3).astype(np.uint8)
    red = np.zeros((64, 80, 3), np.uint8)
    red[..., 0] = 200
    first, second, third = map(_decode, data_uris([grey, red, grey[..., None]]))
    assert first.shape == third.shape == (64, 80)
    assert np.abs(first.astype(int) - grey).max() < 8
    assert y.shape == second.shape[:2]
    np.testing.assert_allclose(second[..., ::-1].reshape(-1, 3).mean(axis=0), [200, 0, 0], atol=4)


@pytest.mark.parametrize(
    ("shape", "expected"), [((1000, 500), (288, 144)), ((3, 3000), (1, 288)), ((10, 10), (10, 10))]
)
def test_large_images_shrink_and_keep_their_shape(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    (uri,) = data_uris([np.zeros(shape, np.uint8)])
    assert _decode(uri).shape == expected


def test_no_images_are_no_uris() -> None:
    assert data_uris([]) == []
