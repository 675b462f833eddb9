"""A short rush on a running service, and what overload is told: `benchmarks/clinic_load.py`, smaller."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

pytestmark = pytest.mark.slow


def test_a_rush_is_answered_and_overload_is_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    load = importlib.import_module("benchmarks.clinic_load")
    monkeypatch.setattr(load, "OVERLOAD_S", 4.0)
    monkeypatch.setattr(load, "AFTER_S", 4.0)
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256), dtype=np.uint8)
    Picture.fromarray(pixels).save(stream, "PNG")
    found = load.measure(tmp_path, 8.0, stream.getvalue())
    for phase in ("steady", "overload", "after it"):
        answers = found[phase]["answers by status"]
        assert set(answers) <= {"200", "503"}, phase
        assert found[phase]["503 with Retry-After"] == answers.get("503", 0)
        assert answers.get("200", 0) > 0
    assert found["overload"]["503 with Retry-After"] > 0
    # on a busy machine a rush may be more than it can do; what overload left behind may not
    assert found["after it"]["answers by status"]["200"] >= 0.5 * found["after it"]["requests"]
    before, after = (
        found["memory (MB) after one minute and at the end of it"][0],
        found["memory (MB) after overload and at the end"][1],
    )
    assert after < before + 400
