"""Training and prediction from a store on a slow disk: they work, read ahead, and say where the time went.

The disk is a real one: the system lets the process read only so many bytes a second (Linux control groups).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from resight.preprocess import Recipe, Store

pytestmark = pytest.mark.slow

BYTES_A_SECOND = 1_500_000

PROGRAM = """
import json, os, sys, time
from pathlib import Path
import numpy as np, torch
from torch import nn
from resight.preprocess import Store
from resight.training import TrainingOptions, fit
from resight.training.data import TrainingData

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 1)
    def forward(self, images):
        if self.training:
            time.sleep(float(sys.argv[2]))
        return self.last(nn.functional.adaptive_avg_pool2d(images.float() / 255, 8).flatten(1))

torch.set_num_threads(1)
folder = Path(sys.argv[1])
store = Store.open(folder / "store")
count = len(store)
targets = (np.arange(count) % 2).astype(float)[:, None]
def part(rows, images):
    return TrainingData(images, rows, targets[rows], np.ones((len(rows), 1), bool), tuple(map(str, rows)))
options = TrainingOptions(epochs=1, batch_size=8, precision="fp32", threads=1, warmup_epochs=0)
def train(images, name, progress):
    torch.manual_seed(0)
    parts = part(np.arange(count - 8), images), part(np.arange(count - 8, count), images)
    return fit(Net(), *parts, options, task="binary", folder=folder / name, progress=progress)
# what is imported on the way would be read slowly as well
train(np.zeros((count, 1, 256, 256), np.uint8), "before", lambda *said: None)
store.images  # to read the header makes the system read much behind it, here the whole file
# the system forgets the file; what it reads from now on is slow
handle = os.open(folder / "store" / "images.npy", os.O_RDONLY)
os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
if sys.argv[3]:
    Path(sys.argv[3]).write_text(str(os.getpid()))
details = []
result = train(store, "run", lambda *said: details.append(said[-1]))
print(json.dumps({"seconds": result.seconds, "waited_s": result.waited_s, "detail": details[-1],
                  "loss": result.history[0]["loss"]}))
"""


@pytest.fixture
def slow_disk(tmp_path: Path) -> Iterator[Path]:
    """Where a process writes its number to read slowly from then on; skips where the system does not offer that."""
    device = tmp_path.stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    older = Path("/sys/fs/cgroup/blkio")
    group = (older if older.is_dir() else Path("/sys/fs/cgroup")) / f"resight-{uuid.uuid4().hex[:8]}"
    if older.is_dir():
        rule = "blkio.throttle.read_bps_device", f"{name} {BYTES_A_SECOND}"
    else:
        rule = "io.max", f"{name} rbps={BYTES_A_SECOND}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("control groups belong to root alone")
    try:
        try:
            (group / rule[0]).write_text(rule[1])
        except OSError:
            pytest.skip(f"the system cannot slow down the disk {name}")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A store of 72 images of 256 px, 4.7 MB, of which the system has written everything to disk."""
    paths = [tmp_path / f"{number}.png" for number in range(72)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (256, 256), dtype=np.uint8))
    Store.build(paths, Recipe(size_px=(256, 256)), tmp_path / "store", workers=1)
    with (tmp_path / "store" / "images.npy").open("rb+") as stream:
        os.fsync(stream.fileno())
    return tmp_path


def trained(folder: Path, step_s: float, group: Path | str = "") -> dict:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(step_s), str(group)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def test_a_slow_disk_holds_training_up_and_that_is_said(folder: Path, slow_disk: Path) -> None:
    quick, slow = trained(folder, 0.05), trained(folder, 0.0, slow_disk)
    assert slow["loss"] == quick["loss"]
    least = 64 * 256**2 / BYTES_A_SECOND
    assert slow["waited_s"] > 0.7 * least
    assert slow["seconds"] > slow["waited_s"] > 0.3 * slow["seconds"]
    assert "% of the time waiting for images" in slow["detail"]
    assert quick["waited_s"] < 0.3 * quick["seconds"]
    assert "waiting" not in quick["detail"]


def test_the_next_batch_is_fetched_while_the_network_works(folder: Path, slow_disk: Path) -> None:
    a_batch = 8 * 256**2 / BYTES_A_SECOND  # 0.35 s of the disk
    busy = trained(folder, 1.5 * a_batch, slow_disk)
    assert busy["waited_s"] < 4 * a_batch, busy  # 8 batches and more without reading ahead
