"""`resight train --processes`: the figures of one process, and a death that is told in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resight.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

SMALL = (
    *("--set", "training.epochs=2", "--set", "training.precision=fp32", "--set", "training.threads=1"),
    *("--set", "model.backbone.norm=group", "--set", "training.ema_decay=0.0", "--set", "report.examples=0"),
)


def test_two_processes_write_the_run_of_one(resight, experiment: Path, tmp_path: Path) -> None:
    one = ("--set", "training.batch_size=16")
    two = ("--set", "training.batch_size=8", "--processes", "2")
    assert resight("train", experiment, "--out", tmp_path / "one", *SMALL, *one).code == 0
    answer = resight("train", experiment, "--out", tmp_path / "two", *SMALL, *two)
    assert answer.code == 0, answer.err
    figures = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    for a, b in zip(figures[0]["labels"], figures[1]["labels"], strict=True):
        for metric in ("auroc", "brier"):
            assert a["metrics"][metric]["value"] == pytest.approx(b["metrics"][metric]["value"], abs=1e-6)


def _start(experiment: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "resight.cli.main", "train", str(experiment), "--out", str(out), *SMALL]
    words = [*command, "--set", "training.batch_size=8", "--processes", "2", *more]
    return subprocess.Popen(words, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def _kill_one(parent: subprocess.Popen[str], out: Path) -> None:
    """Kill the last process of a training once there is a checkpoint."""
    until = time.monotonic() + 90
    while not list(out.glob("checkpoints/*/last.safetensors")):
        assert time.monotonic() < until
        assert parent.poll() is None
        time.sleep(0.1)
    os.kill(_children(parent.pid)[-1], signal.SIGKILL)


def test_a_killed_process_is_told_in_one_line(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with _start(experiment, out, "--set", "training.epochs=40") as parent:
        _kill_one(parent, out)
        _, words = parent.communicate(timeout=90)
    assert parent.returncode == 6
    assert "killed by SIGKILL, and the others were ended" in " ".join(words.split())


def test_a_killed_process_begins_again_from_the_last_checkpoint(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with _start(experiment, out, "--set", "training.epochs=12", "--restarts", "1") as parent:
        _kill_one(parent, out)
        epochs: list[int] = []
        until = time.monotonic() + 150
        while parent.poll() is None:
            assert time.monotonic() < until
            for path in out.glob("checkpoints/*/last.safetensors"):
                epochs.append(int(load_checkpoint(path)[1]["epoch"]))
            time.sleep(0.2)
        _, words = parent.communicate()
    assert parent.returncode == 0, words
    told = " ".join(words.split())
    assert "process 2 of 2 was killed by SIGKILL, and the others were ended; all begin again" in told
    assert "(restart 1 of 1)" in told
    assert "Traceback" not in told
    assert epochs == sorted(epochs), "a training that began anew would have fallen back"
    assert epochs[0] < 12
    assert json.loads((out / "metrics.json").read_text())["labels"]


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return sorted(int(number) for number in text.split())
