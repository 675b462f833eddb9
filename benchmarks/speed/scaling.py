"""How cost grows with the work: images, labels, replicates; and memory with the number of stored images.

    python -m benchmarks.speed.scaling

Writes results/speed/scaling.json and .md; an exponent of 1 is linear.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.measure import RESULTS, one_thread

SIZE_PX = 64
MEMORY_STEPS = 400


def main() -> None:
    one_thread()
    from resight.evaluation import bootstrap
    from resight.evaluation.discrimination import ranking

    rng = np.random.default_rng(0)

    def intervals(images: int, labels: int, replicates: int) -> None:
        patients = np.arange(images) // 2
        targets = rng.random((images, labels)) < 0.1
        scores = rng.standard_normal((images, labels))
        each = [ranking(targets[:, k], scores[:, k]).by_patient(patients, images // 2) for k in range(labels)]
        bootstrap(each, images // 2, replicates=replicates, seed=0)

    found = {
        "images, AUROC of 2 labels with 100 replicates": [
            _seconds(intervals, n, 2, 100) for n in (1000, 10_000, 100_000)
        ],
        "labels, 2,000 images, 100 replicates": [_seconds(intervals, 2000, n, 100) for n in (1, 10, 100)],
        "replicates, 2,000 images, 2 labels": [_seconds(intervals, 2000, 2, n) for n in (100, 1000, 10_000)],
    }
    sizes = (1000, 10_000, 100_000)
    memory = {str(count): _training_memory(count) for count in sizes}
    lines = [
        "### Time and memory",
        "",
        "| what grows | 1x | 10x | 100x | exponent |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, seconds in found.items():
        exponent = np.polyfit(np.log10([1, 10, 100]), np.log10(seconds), 1)[0]
        lines.append(f"| {name} | {' | '.join(f'{s:.3g} s' for s in seconds)} | {exponent:.2f} |")
    lines += [
        "",
        f"Memory that a process of {MEMORY_STEPS} training batches of 32 cannot give back (its anonymous pages, so",
        f"without the memory-mapped store), images of {SIZE_PX} px:",
        "",
        "| images in the store | MB |",
        "| --- | --- |",
        *(f"| {int(count):,} | {megabytes:.0f} |" for count, megabytes in memory.items()),
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"seconds": found, "anonymous_mb": memory}
    (RESULTS / "scaling.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _seconds(work, *arguments: int) -> float:
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        work(*arguments)
        best = min(best, time.process_time() - start)
    return best


def _training_memory(images: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.speed.scaling", folder, str(images)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return float(answer.stdout.split()[-1])


def train_from(folder: Path, images: int) -> float:
    """Peak of a process's anonymous memory while it trains on a store of that many images, in MB."""
    import torch

    from resight.models import ModelOptions, build_classifier
    from resight.preprocess import Recipe, Store
    from resight.training.data import Reader, TrainingData, epoch_order

    store = Store(folder, Recipe(size_px=(SIZE_PX, SIZE_PX)), (("", 0, 0),) * images, {})
    np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(images, 1, SIZE_PX, SIZE_PX))
    targets = np.zeros((images, 1))
    data = TrainingData(store, np.arange(images), targets, np.ones_like(targets, dtype=bool), ("",) * images)
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4})
    network = build_classifier(options, labels=("a",), channels=1, dims=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    peak, step = 0.0, 0
    while step < MEMORY_STEPS:
        order = epoch_order(images, 0, step)
        for batch in Reader(data, batch_size=32, device=torch.device("cpu")).batches(order):
            network(batch.images).square().mean().backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                peak = max(peak, _anonymous_mb())
            if step == MEMORY_STEPS:
                break
    return peak


def _anonymous_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one_thread()
        print(train_from(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        main()
