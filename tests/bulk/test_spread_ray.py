"""Several processes give the table of one, also after the one that directs them was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.models import Predictor

PARTS, PART_IMAGES = 14, 6


@pytest.mark.slow
def test_a_run_killed_at_half_goes_on_and_gives_the_local_table(
    bundle_folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    originals = [folder / f"{number:03d}.png" for number in range(4)]
    for path in originals:
        cv2.imwrite(str(path), rng.integers(0, 256, (1400, 1400), dtype=np.uint8))
    originals[1].write_bytes(originals[1].read_bytes()[:5000])
    for number in range(4, PARTS * PART_IMAGES):
        (folder / f"{number:03d}.png").hardlink_to(originals[number % 4])
    out, parts = tmp_path / "table.csv", tmp_path / "table.csv.parts"
    command = [
        *(sys.executable, "-m", "resight.cli.main", "predict", str(bundle_folder), str(folder), "--out", str(out)),
        *("--engine", "ray", "--processes", "2", "--batch", "3", "--part-images", str(PART_IMAGES)),
    ]
    first = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    while _finished(parts) < PARTS // 2:
        assert first.poll() is None, first.stderr and first.stderr.read()
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = _finished(parts)
    assert PARTS // 2 <= before < PARTS
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*.csv")}

    again = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"{before} of them found finished" in again.stderr
    lines = [json.loads(line) for line in (parts / "finished.jsonl").read_text().splitlines()]
    assert sorted(line["part"] for line in lines) == list(range(1, PARTS + 1))
    assert {name: (parts / name).stat().st_mtime_ns for name in kept} == kept
    found = pd.read_csv(out)
    expected = Predictor.load(bundle_folder).predict(str(folder), batch=3)
    assert not found.duplicated(["image", "label"]).any()
    expected.write(tmp_path / "expected.csv")
    pd.testing.assert_frame_equal(found, pd.read_csv(tmp_path / "expected.csv"), rtol=1e-5, atol=1e-6)
    assert found["error"].notna().sum() == 2 * PARTS * PART_IMAGES // 4


def _finished(parts: Path) -> int:
    path = parts / "finished.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0
