import numpy as np
import pytest
from matplotlib import colormaps

from resight.errors import ImageError
from resight.explain import overlay

GREY = np.full((1, 6, 8), 100, np.uint8)


def _bump():
    evidence = np.zeros((6, 8), np.float32)
    evidence[2:4, 3:6] = 2.0
    evidence[0, 0] = 1.0
    return evidence


def test_colour_and_opacity_follow_the_value():
    picture = overlay(GREY, _bump(), colours="viridis", opacity=0.5)
    assert picture.shape == (3, 6, 8)
    assert picture.dtype == np.uint8
    assert (picture[:, 5, 7] == 100).all()
    strongest = 0.5 * 100 + 0.5 * 255 * np.array(colormaps["viridis"](255)[:3])
    np.testing.assert_allclose(picture[:, 2, 3], strongest, atol=1)
    half = 0.75 * 100 + 0.25 * 255 * np.array(colormaps["viridis"](128)[:3])
    np.testing.assert_allclose(picture[:, 0, 0], half, atol=1)


@pytest.mark.parametrize("evidence", [np.zeros((6, 8)), np.full((6, 8), -3.0), np.full((6, 8), np.nan)])
def test_without_evidence_the_image_stays(evidence):
    colour = np.arange(144, dtype=np.uint8).reshape(3, 6, 8)
    np.testing.assert_array_equal(overlay(colour, evidence, contour=0.5), colour)


def test_contour_is_the_inner_border_of_the_region():
    evidence = np.zeros((6, 8))
    evidence[1:4, 2:7] = 1.0
    picture = overlay(GREY, evidence, contour=0.5, contour_rgb=(1, 2, 3))
    drawn = (picture == np.array([1, 2, 3])[:, None, None]).all(axis=0)
    expected = evidence > 0
    expected[2, 3:6] = False
    np.testing.assert_array_equal(drawn, expected)


def test_a_common_peak_makes_labels_comparable():
    weak = overlay(GREY, _bump() / 4, peak=2.0)
    assert np.abs(weak.astype(int) - 100).max() < np.abs(overlay(GREY, _bump()).astype(int) - 100).max()
    np.testing.assert_array_equal(overlay(GREY, _bump(), peak=2.0), overlay(GREY, _bump()))


def test_volumes_are_drawn_slice_by_slice():
    volume, evidence = np.repeat(GREY[:, None], 3, axis=1), np.stack([_bump(), 0 * _bump(), _bump()])
    picture = overlay(volume, evidence, contour=0.9)
    np.testing.assert_array_equal(picture[:, 0], overlay(GREY, _bump(), contour=0.9))
    assert (picture[:, 1] == 100).all()


def test_another_grid_is_refused():
    with pytest.raises(ImageError, match=r"image \(1, 6, 8\), evidence \(6, 7\); expected .* the same grid"):
        overlay(GREY, np.zeros((6, 7)))
