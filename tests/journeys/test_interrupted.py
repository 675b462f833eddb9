"""A run that is killed or interrupted continues to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

LONG = ("--set", "training.epochs=4", "--set", "training.checkpoint_every_s=0.01")


def _until(process: subprocess.Popen[str], path: Path) -> None:
    begin = time.monotonic()
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - begin < 300
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_resume_gives_the_same_bits(resight, spawn, experiment: Path, tmp_path: Path, how, code) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert resight("train", experiment, "--out", whole, *LONG).code == 0
    process = spawn("train", experiment, "--out", broken, *LONG)
    _until(process, broken / "checkpoints" / "member-0" / "last.safetensors")
    os.killpg(process.pid, how)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (broken / "metrics.json").exists()
    if how == signal.SIGINT:
        assert "Traceback" not in talk
        assert "--resume" in talk.splitlines()[-1]
    assert resight("train", experiment, "--out", broken, *LONG).code == 7
    other = resight("train", experiment, "--out", broken, "--resume", "--set", "training.epochs=5")
    assert other.code == 3
    resumed = resight("train", experiment, "--out", broken, *LONG, "--resume")
    assert resumed.code == 0, resumed.err
    for name in ("metrics.json", "predictions.csv"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_interrupted_while_images_are_decoded(spawn, phantom: Path, experiment: Path, tmp_path: Path) -> None:
    process = spawn("train", experiment, "--out", tmp_path / "run", "--set", "store.workers=2", "--set", "members=9")
    _until(process, tmp_path / "run" / "store")
    os.killpg(process.pid, signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in talk


@pytest.mark.slow
def test_a_training_worker_that_is_killed(spawn, resight, experiment: Path, tmp_path: Path) -> None:
    run, sets = tmp_path / "run", ("--set", "training.workers=1", *LONG)
    process = spawn("train", experiment, "--out", run, *sets)
    _until(process, run / "checkpoints" / "member-0" / "last.safetensors")
    for child in psutil.Process(process.pid).children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):  # not the tracker that multiprocessing keeps beside its workers
            child.kill()
    _, talk = process.communicate(timeout=400)
    if process.returncode:  # between two epochs there is no worker to be missed
        assert process.returncode == 6, talk
        assert "Traceback" not in talk
        assert "--resume" in talk.strip().splitlines()[-1]
    resumed = resight("train", experiment, "--out", run, *LONG, "--set", "training.workers=0", "--resume")
    assert resumed.code == 0, resumed.err
