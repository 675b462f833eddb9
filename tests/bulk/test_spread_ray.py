"""Several processes give the table of one, also after the one that directs them was killed."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import psutil
import pytest

from resight.bulk.spread_ray import _start
from resight.errors import ResightError
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
    assert _heard_outside(first.pid) == {}
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


def test_a_ray_that_other_machines_can_reach_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was imported before we could ask for the loopback."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ended: list[bool] = []
    ray = SimpleNamespace(
        init=lambda **_: None,
        shutdown=lambda: ended.append(True),
        util=SimpleNamespace(get_node_ip_address=lambda: "192.0.2.2"),
    )
    with pytest.raises(ResightError, match=r"listens on 192\.0\.2\.2; expected 127\.0\.0\.1"):
        _start(ray, 1)
    assert ended == [True]
    monkeypatch.setenv("RAY_ADDRESS", "cluster:6379")
    _start(ray, 1)


def _heard_outside(pid: int) -> dict[str, str]:
    """Ports on which a process or one of its children listens for other machines, and the program that does."""
    every = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(every) > 3, "Ray's own processes are not seen"
    return {
        f"{one.laddr.ip}:{one.laddr.port}": process.name()
        for process in every
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN and not _is_loopback(one.laddr.ip)
    }


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _finished(parts: Path) -> int:
    path = parts / "finished.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0
