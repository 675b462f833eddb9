from __future__ import annotations

import cv2
import numpy as np
import pytest

from resight.imaging import tone


def test_each_number_follows_its_own_change(rng: np.random.Generator) -> None:
    smooth = cv2.GaussianBlur(rng.normal(120, 60, (64, 64)).astype(np.float32), (0, 0), 2)
    picture = np.clip(120 + 3 * (smooth - smooth.mean()), 0, 200).astype(np.uint8)[None]
    plain = tone(picture)
    assert plain["brightness"] == pytest.approx(picture.mean(), abs=1e-3)
    assert plain["contrast"] == pytest.approx(picture.std(), abs=1e-3)
    brighter = tone(picture + np.uint8(40))
    assert brighter["brightness"] == pytest.approx(plain["brightness"] + 40, abs=1e-3)
    assert (brighter["contrast"], brighter["sharpness"]) == pytest.approx((plain["contrast"], plain["sharpness"]))
    even = picture - picture % 2
    paler = tone(even // 2)  # half the contrast is no less sharp
    assert paler["contrast"] == pytest.approx(tone(even)["contrast"] / 2)
    assert paler["sharpness"] == pytest.approx(tone(even)["sharpness"])
    blurred = cv2.GaussianBlur(picture[0], (0, 0), 2)[None]
    noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
    assert tone(blurred)["sharpness"] < plain["sharpness"] < tone(noisy)["sharpness"]


def test_a_volume_is_judged_by_its_middle_slice(rng: np.random.Generator) -> None:
    volume = rng.integers(0, 255, (1, 5, 16, 16), dtype=np.uint8)
    assert tone(volume) == tone(volume[:, 2])


def test_a_constant_image_has_no_sharpness() -> None:
    assert tone(np.full((1, 8, 8), 7, np.uint8)) == {"brightness": 7.0, "contrast": 0.0, "sharpness": 0.0}
