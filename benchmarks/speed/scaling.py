"""How cost grows with the work: images, labels, replicates, sites; and memory with the number of images.

    python -m benchmarks.speed.scaling

In the environment of `make test`, as sites sign what they send. Writes results/speed/scaling.json and .md and the
figure of the documentation; an exponent of 1 is linear.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed import small_sites
from benchmarks.speed.measure import RESULTS, one_thread, status_mb

FIGURE = Path(__file__).parents[2] / "docs" / "explanation" / "scaling.svg"
SIZE_PX = 64
MEMORY_STEPS = 400
STEPS = (1, 10, 100)
MEMORY = ("training", "prediction")


def main() -> None:
    one_thread()
    found = {**_times_of_intervals(), **_times_of_sites()}
    sizes = {"training": (1000, 10_000, 100_000), "prediction": (500, 5000, 50_000)}
    memory = {what: {str(count): _in_a_process(what, count) for count in sizes[what]} for what in MEMORY}
    found["images predicted, 64 px, small network"] = [each["seconds"] for each in memory["prediction"].values()]
    exponents = {name: _exponent(seconds) for name, seconds in found.items()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = "\n".join(_lines(found, exponents, memory)) + "\n"
    (RESULTS / "scaling.md").write_text(text, encoding="utf-8")
    data = {"seconds": found, "exponents": exponents, "memory_mb": memory}
    (RESULTS / "scaling.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    _draw(found, exponents)
    print(text)


def _times_of_intervals() -> dict[str, list[float]]:
    from resight.evaluation import bootstrap
    from resight.evaluation.discrimination import ranking

    rng = np.random.default_rng(0)

    def intervals(images: int, labels: int, replicates: int) -> None:
        patients = np.arange(images) // 2
        targets = rng.random((images, labels)) < 0.1
        scores = rng.standard_normal((images, labels))
        each = [ranking(targets[:, k], scores[:, k]).by_patient(patients, images // 2) for k in range(labels)]
        bootstrap(each, images // 2, replicates=replicates, seed=0)

    return {
        "images, AUROC of 2 labels with 100 replicates": [
            _seconds(lambda n=n: intervals(1000 * n, 2, 100)) for n in STEPS
        ],
        "labels, 2,000 images, 100 replicates": [_seconds(lambda n=n: intervals(2000, n, 100)) for n in STEPS],
        "replicates, 2,000 images, 2 labels": [_seconds(lambda n=n: intervals(2000, 2, 100 * n)) for n in STEPS],
    }


def _times_of_sites() -> dict[str, list[float]]:
    """What the coordinator and all sites spend together; a small network, so that the bookkeeping shows."""
    small_sites.run(3, secure=True)  # what is imported once
    return {
        "sites, a round of federated averaging and its audit, from 3 on": [
            _seconds(lambda n=n: small_sites.run(3 * n, secure=False), rounds=1) for n in STEPS
        ],
        "sites, the same with secure aggregation, from 3 on": [
            _seconds(lambda n=n: small_sites.run(3 * n, secure=True), rounds=1) for n in STEPS
        ],
    }


def _lines(found: dict[str, list[float]], exponents: dict[str, float], memory: dict) -> list[str]:
    lines = [
        "### Time and memory",
        "",
        "`python -m benchmarks.speed.scaling` in the environment of `make test`; processor time of one thread.",
        "",
        "| what grows | 1x | 10x | 100x | exponent |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, seconds in found.items():
        lines.append(f"| {name} | {' | '.join(f'{s:.3g} s' for s in seconds)} | {exponents[name]:.2f} |")
    words = {
        "training": f"{MEMORY_STEPS} training batches of 32 from a store of that many images of {SIZE_PX} px",
        "prediction": f"one prediction of that many images of {SIZE_PX} px, handed over one after the other",
    }
    lines += [
        "",
        "Peak of a process's memory in MB: what it cannot give back (anonymous pages), and its whole resident set with"
        " the pages of the memory-mapped store, which the system takes back when it needs them.",
        "",
        "| work | images | cannot give back | whole | store |",
        "| --- | --- | --- | --- | --- |",
    ]
    for what, each in memory.items():
        for count, peak in each.items():
            store = f"{int(count) * SIZE_PX**2 / 2**20:.0f}" if what == "training" else ""
            lines.append(
                f"| {words[what]} | {int(count):,} | {peak['anonymous']:.0f} | {peak['whole']:.0f} | {store} |"
            )
    return lines


def _draw(found: dict[str, list[float]], exponents: dict[str, float]) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "resight"
    figure, axes = plt.subplots(figsize=(8, 4.2))
    for name, seconds in found.items():
        axes.plot(STEPS, np.array(seconds) / seconds[0], "o-", label=f"{name}: {exponents[name]:.2f}")
    axes.plot(STEPS, STEPS, color="grey", linestyle="--", linewidth=0.8, label="linear: 1")
    axes.set(xscale="log", yscale="log", xlabel="times the work", ylabel="times the processor time")
    axes.legend(loc="upper left", frameon=False, fontsize=7, title="what grows: exponent", title_fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


def _exponent(seconds: list[float]) -> float:
    return float(np.polyfit(np.log10(STEPS), np.log10(seconds), 1)[0])


def _seconds(work: Callable[[], object], rounds: int = 3) -> float:
    best = np.inf
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def _in_a_process(what: str, images: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.speed.scaling", what, folder, str(images)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(answer.stdout.splitlines()[-1])


def train_from(folder: Path, images: int) -> dict[str, float]:
    """Train on a store of that many images."""
    import torch

    from benchmarks.speed import inputs
    from resight.models import ModelOptions, build_classifier
    from resight.training.data import Reader, epoch_order

    data = inputs.store(folder, images, (1, SIZE_PX, SIZE_PX))
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4})
    network = build_classifier(options, labels=("a",), channels=1, dims=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    peak, step, start = _Peak(), 0, time.process_time()
    while step < MEMORY_STEPS:
        order = epoch_order(images, 0, step)
        for batch in Reader(data, batch_size=32, device=torch.device("cpu")).batches(order):
            network(batch.images).square().mean().backward()
            optimizer.step()
            step += 1
            peak.look()
            if step == MEMORY_STEPS:
                break
    return peak.told(time.process_time() - start)


def predict_from(folder: Path, images: int) -> dict[str, float]:
    """Predict that many images, made as they are asked for."""
    from resight.models import Manifest, ModelOptions, Predictor, build_classifier, save_bundle
    from resight.preprocess import Recipe

    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4})
    network = build_classifier(options, labels=("a",), channels=1, dims=2)
    recipe = Recipe(size_px=(SIZE_PX, SIZE_PX))
    save_bundle(folder / "bundle", network, Manifest(labels=("a",), task="binary", recipe=recipe, model=options))
    rng = np.random.default_rng(0)
    made = (rng.integers(0, 256, (SIZE_PX, SIZE_PX), dtype=np.uint8) for _ in range(images))
    peak, start = _Peak(), time.process_time()
    predictor = Predictor.load(folder / "bundle")
    table = predictor.predict(made, workers=1, progress=lambda *_: peak.look())
    assert len(table) == images
    return peak.told(time.process_time() - start)


class _Peak:
    """Of the memory of this process, looked at again and again."""

    def __init__(self) -> None:
        self.anonymous = 0.0

    def look(self) -> None:
        self.anonymous = max(self.anonymous, status_mb("RssAnon"))

    def told(self, seconds: float) -> dict[str, float]:
        self.look()
        return {"anonymous": self.anonymous, "whole": status_mb("VmHWM"), "seconds": seconds}


if __name__ == "__main__":
    if len(sys.argv) == 4:
        one_thread()
        work = {"training": train_from, "prediction": predict_from}[sys.argv[1]]
        print(json.dumps(work(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
