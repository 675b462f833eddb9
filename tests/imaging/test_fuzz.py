"""Some hundred of the damaged files of `benchmarks/clinic_fuzz.py`; the benchmark sends ten thousand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_every_damaged_file_is_answered(tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "clinic_fuzz.py"))
    found = script["fuzz"](300, 7, tmp_path)
    assert sum(found["answers"].values()) == 2 * 300
    assert found["answers"]["refused with a reason"] > 100
    assert found["reasons that name the patient"] == 0
    assert found["distinct reasons"] > 10
