"""Sentinels on real cohorts: what they catch, when they are wrong, and where they are silent."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest

from resight.errors import ImageError
from resight.imaging import Sentinels, read


def _cohort(folder, count, size_px=64):
    """Images `(N, 3, H, W)` and a group of each: two thirds of the patients for training."""
    with (folder / "index.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    # evenly over the table, so that every class is there
    rows = rows[:: max(1, len(rows) // count)][:count]
    images = []
    for row in rows:
        pixels = read(folder / row["file"], at_least_px=size_px).pixels
        pixels = np.broadcast_to(pixels, (3, *pixels.shape[1:]))
        images.append([cv2.resize(plane, (size_px, size_px), interpolation=cv2.INTER_AREA) for plane in pixels])
    patients = [row.get("patient_id") or row["file"] for row in rows]
    held_out = np.array([sum(map(ord, patient)) % 3 == 0 for patient in patients])
    return np.asarray(images, np.uint8), held_out


def _rate(sentinels, images, name=None):
    found = [{flag.name for flag in sentinels.check(image)} for image in images]
    return np.mean([name in flags if name else bool(flags) for flags in found])


@pytest.fixture(scope="module")
def skin(real_data):
    return _cohort(real_data("derm_isic2017"), 400)


@pytest.mark.parametrize(("name", "count"), [("cxr_pneumonia_kermany", 803), ("cxr_nih14_1000", 1000)])
def test_chest_radiographs(real_data, skin, name, count):
    images, held_out = _cohort(real_data(name), count)
    sentinels = Sentinels.fit(images[~held_out])
    state = json.dumps(sentinels.to_dict())
    assert len(state) < 60_000
    sentinels = Sentinels.from_dict(json.loads(state))
    assert {"rotated", "inverted", "wrong-modality"} <= set(sentinels.active())
    test = images[held_out]
    assert _rate(sentinels, test) <= 0.03
    assert _rate(sentinels, test, "rotated") <= 0.01
    for turns in (1, 2, 3):
        assert _rate(sentinels, np.rot90(test, turns, (2, 3)), "rotated") >= 0.95
    assert _rate(sentinels, 255 - test, "inverted") >= 0.95
    assert _rate(sentinels, test.swapaxes(2, 3)) >= 0.97  # sideways, as transposed arrays are
    assert _rate(sentinels, skin[0][:100], "wrong-modality") >= 0.97


def test_skin_has_no_upright(skin):
    images, held_out = skin
    sentinels = Sentinels.fit(images[~held_out])
    assert not {"rotated", "inverted", "mirrored"} & set(sentinels.active())
    test = images[held_out]
    assert _rate(sentinels, test) <= 0.05
    assert _rate(sentinels, np.rot90(test, 1, (2, 3)), "rotated") == 0
    assert _rate(sentinels, test[..., ::-1], "mirrored") == 0


def _planted(rng, count):
    """A bright disc top left on a dark ground: every turn, mirror image and negative differs."""
    images = rng.normal(60, 10, (count, 1, 32, 32))
    images[:, :, 4:14, 3:11] += 120
    images[:, :, 20:30] += 40
    return np.clip(images, 0, 255).astype(np.uint8)


def test_every_sentinel_speaks_where_it_can(rng):
    sentinels = Sentinels.fit(_planted(rng, 120))
    assert set(sentinels.active()) == {"constant", "rotated", "inverted", "mirrored", "wrong-modality"}
    image = _planted(rng, 1)[0]
    names = {
        "upright": image,
        "mirrored": image[..., ::-1],
        "inverted": 255 - image,
        "constant": np.full_like(image, 9),
        "wrong-modality": rng.integers(0, 256, image.shape, dtype=np.uint8),
    }
    for name, shown in names.items():
        assert [flag.name for flag in sentinels.check(shown)] == ([] if name == "upright" else [name])
    for turns in (1, 2, 3):
        (flag,) = sentinels.check(np.rot90(image, -turns, (1, 2)))
        assert flag.detail == f"looks turned by {90 * turns} degrees clockwise"
    both = {flag.name for flag in sentinels.check(255 - np.rot90(image, 1, (1, 2)))}
    assert both == {"rotated", "inverted"}


def test_colour_among_grey_is_another_modality(rng):
    grey = np.repeat(_planted(rng, 100), 3, axis=1)
    sentinels = Sentinels.fit(grey)
    tinted = grey[0].copy()
    tinted[2] //= 2
    assert [flag.name for flag in sentinels.check(tinted)] == ["wrong-modality"]


def test_too_few_images_keep_all_but_constant_silent(rng):
    images = _planted(rng, 20)
    sentinels = Sentinels.from_dict(Sentinels.fit(images).to_dict())
    assert sentinels.active() == ("constant",)
    assert sentinels.check(np.rot90(images[0], 1, (1, 2))) == ()
    assert [flag.name for flag in sentinels.check(np.zeros_like(images[0]))] == ["constant"]


def test_volumes_count_by_their_middle_slice(rng):
    volumes = np.repeat(_planted(rng, 80)[:, :, np.newaxis], 3, axis=2)
    sentinels = Sentinels.fit(volumes)
    assert _rate(sentinels, volumes) <= 0.05
    assert [flag.name for flag in sentinels.check(volumes[0][:, :, ::-1, ::-1])] == ["rotated"]


def test_only_prepared_images_are_checked(rng):
    sentinels = Sentinels.fit(_planted(rng, 60))
    with pytest.raises(ImageError, match="expected uint8"):
        sentinels.check(np.zeros((1, 8, 8)))
