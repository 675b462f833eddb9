"""Some hundred of the damaged files of `benchmarks/clinic_fuzz.py`; the benchmark sends ten thousand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_every_damaged_file_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)  # other packages bring one of that name
    script = importlib.import_module("benchmarks.clinic_fuzz")
    tally = script.Tally()
    script.read_all(script.files(np.random.default_rng(7), 0, only_dicom=False), tally, tmp_path)
    assert tally.answers["read"] + tally.answers["refused with a reason"] == 2 * script.PIECE
    assert tally.answers["refused with a reason"] > 100  # refusing checks that the reason names no patient
    assert len(tally.reasons) > 10
