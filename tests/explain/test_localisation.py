import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resight.errors import DataError
from resight.explain import box_mask, centre_map, localise

SPACE = (224, 224)
REFERENCE = box_mask(SPACE, (100, 100), (20, 20))


def _at(*points, value=1.0):
    evidence = np.zeros(SPACE, np.float32)
    for point in points:
        evidence[point] = value
    return evidence


def _scores(evidence, reference=REFERENCE, **options):
    return localise(evidence[None], reference[None], **options)


@pytest.mark.parametrize(
    ("point", "hit"), [((100, 119), 1), ((85, 110), 1), ((84, 110), 0), ((110, 134), 1), ((110, 135), 0), ((90, 90), 1)]
)
def test_pointing_game_allows_15_pixels_of_224(point, hit):
    assert _scores(_at(point)).pointing.value == hit


def test_tolerance_scales_with_the_image():
    evidence, reference = np.zeros((448, 448)), box_mask((448, 448), (200, 200), (40, 40))
    evidence[170, 220] = 1
    assert _scores(evidence, reference).pointing.value == 1
    assert _scores(evidence, reference, tolerance_px=0).pointing.value == 0


def test_equal_maxima_share_so_that_a_constant_map_scores_by_area():
    assert _scores(_at((110, 110), (0, 0), (0, 9), (9, 0))).pointing.value == 0.25
    flat = _scores(np.ones(SPACE), tolerance_px=0)
    assert flat.pointing.value == pytest.approx(400 / 224**2)
    assert flat.energy.value == pytest.approx(400 / 224**2)
    assert flat.iou.value == pytest.approx(400 / 224**2)


def test_overlap_with_a_shifted_box():
    shifted = box_mask(SPACE, (100, 110), (20, 20)).astype(np.float32)
    scores = _scores(shifted + 0.1)
    assert scores.iou.value == pytest.approx(200 / 600)
    assert scores.iobb.value == pytest.approx(0.5)
    assert _scores(shifted).energy.value == pytest.approx(0.5)


def test_iobb_takes_the_box_around_the_strongest_part_only():
    evidence = _at(*[(r, c) for r in range(10) for c in range(10)], value=0.9)
    evidence[105, 105] = evidence[106, 106] = 0.95  # diagonal neighbours are two parts
    evidence[105, 105] = 1.0
    assert _scores(evidence).iobb.value == 1.0
    assert _scores(evidence).iou.value == pytest.approx(2 / 500)


def test_a_map_without_evidence_is_a_miss_and_an_image_without_reference_does_not_count():
    maps = np.stack([np.zeros(SPACE), REFERENCE.astype(float)])
    scores = localise(maps, np.stack([REFERENCE, REFERENCE]))
    assert (scores.iou.value, scores.iobb.value, scores.energy.value) == (0.5, 0.5, 0.5)
    assert scores.iou.n == 2
    assert scores.iou.low == 0.0
    assert scores.iou.high == 1.0
    one_patient = localise(maps, np.stack([REFERENCE, REFERENCE]), patients=["P", "P"])
    assert one_patient.iou.value == 0.5
    assert np.isnan([one_patient.iou.low, one_patient.iou.high]).all()  # one patient says nothing of others
    none = localise(maps, np.zeros_like(maps, dtype=bool))
    assert math.isnan(none.pointing.value)
    assert none.pointing.undefined_because == "no reference"
    assert none.pointing.n == 0


def test_another_grid_is_refused():
    with pytest.raises(DataError, match="expected the same grid"):
        localise(np.zeros((1, 4, 4)), np.zeros((1, 4, 5), bool))


def test_volumes():
    reference = box_mask((8, 16, 16), (2, 4, 4), (3, 5, 5))
    assert reference.sum() == 75
    scores = localise(reference[None].astype(float), reference[None])
    assert (scores.pointing.value, scores.iou.value, scores.iobb.value, scores.energy.value) == (1, 1, 1, 1)


def test_centre_map_points_at_the_centre():
    for space in ((9, 13), (4, 6), (5, 7, 9)):
        strongest = np.argwhere(centre_map(space) == centre_map(space).max()).mean(axis=0)
        np.testing.assert_allclose(strongest, [(side - 1) / 2 for side in space])


@given(scale=st.floats(1e-3, 1e3))
def test_the_unit_of_a_map_does_not_matter(scale):
    evidence = np.random.default_rng(0).random((32, 32))
    reference = box_mask((32, 32), (3, 3), (20, 9))
    scaled = localise(scale * evidence[None], reference[None])
    plain = localise(evidence[None], reference[None])
    assert scaled.energy.value == pytest.approx(plain.energy.value)
    assert scaled.iou.value == pytest.approx(plain.iou.value)
    assert scaled.pointing == plain.pointing


def test_box_edges_lie_between_pixels():
    mask = box_mask((4, 4), (0.5, 1.51), (2, 1))
    assert mask.sum(axis=1).tolist() == [1, 1, 0, 0]
    assert mask.sum(axis=0).tolist() == [0, 0, 2, 0]
