"""Two processes give what one gives on the same global batch, and a death ends the job in one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from resight.training.distributed import Ranks, gathered, leader_first, ranks, summed

SCRIPT = Path(__file__).with_name("train_with_others.py")


def start(folder: Path, world: int, *words: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), *words],
            env={**os.environ, **place, "RANK": str(rank)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(world)
    ]


def result(folder: Path, world: int, *words: str) -> dict[str, object]:
    for process in start(folder, world, *words):
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 0, text
    return json.loads((folder / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--accumulate", "2")])
def test_two_processes_give_the_metrics_of_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    """41 samples and a global batch of 8: the last batch is a single sample, so one process has none."""
    one = result(tmp_path / "one", 1, "--batch", "8", *words)
    two = result(tmp_path / "two", 2, "--batch", "4", *words)
    for mine, theirs in zip(one["history"], two["history"], strict=True):
        for key in ("loss", "validation_loss", "validation_auroc"):
            assert mine[key] == pytest.approx(theirs[key], abs=1e-6), key
    assert one["logits"] == pytest.approx(two["logits"], abs=1e-5)


@pytest.mark.slow
def test_a_killed_process_ends_the_other_in_one_line_and_all_resume(tmp_path: Path) -> None:
    whole = result(tmp_path / "whole", 2, "--batch", "4")
    running = start(tmp_path / "killed", 2, "--batch", "4", "--pause", "0.05")
    until = time.monotonic() + 60
    while not (tmp_path / "killed" / "last.safetensors").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    running[1].send_signal(signal.SIGKILL)
    text, _ = running[0].communicate(timeout=60)
    running[1].communicate()
    assert running[0].returncode == 6, text
    assert "another process of this training died" in text.strip().splitlines()[-1]
    again = result(tmp_path / "killed", 2, "--batch", "4", "--resume")
    assert again["logits"] == pytest.approx(whole["logits"], abs=1e-6)


def test_alone_nothing_is_shared() -> None:
    assert ranks() == Ranks(0, 1)
    with leader_first():
        assert summed(torch.tensor(3.0)) == 3
    values = torch.tensor([[1.0], [2.0]])
    joined = gathered(values, torch.tensor([2, 0]), 3)
    assert joined[:, 0].isnan().tolist() == [False, True, False]
    assert joined[2, 0] == 1
