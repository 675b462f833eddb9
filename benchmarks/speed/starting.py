"""Row 17: what it costs to say how it is used; and a warm service's first prediction against the engine alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.measure import Row, keep, one_thread, paired, versions

ROUNDS = 3
COMMANDS = {
    "import monai": [
        sys.executable,
        "-c",
        "import benchmarks.speed.measure as m; m.import_torchvision(); import monai",
    ],
    "resight --help": [sys.executable, "-m", "resight.cli.main", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import numpy": [sys.executable, "-c", "import numpy"],
}


def main() -> None:
    one_thread()
    _help()
    _first_prediction()


def _help() -> None:
    modules = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "resight.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    with_torch = any(line.rsplit("|", 1)[-1].strip() == "torch" for line in modules.splitlines())
    rounds = [[_seconds(command) for command in COMMANDS.values()] for _ in range(ROUNDS)]
    seconds = np.array(rounds)
    ratios = seconds[:, :1] / seconds
    best = float(seconds[:, 1].min())
    keep(
        Row(
            number="17",
            work="start-up: resight --help",
            peer="import monai",
            ours="resight --help",
            ratio=float(np.median(ratios[:, 1])),
            spread=tuple(np.quantile(ratios[:, 1], [0.25, 0.75]).tolist()),
            seconds=dict(zip(COMMANDS, np.median(seconds, axis=0).tolist(), strict=True)),
            others={name: float(np.median(ratios[:, i])) for i, name in enumerate(COMMANDS) if i > 1},
            memory_mb={},
            difference=float(with_torch),
            tolerance=0.0,
            unit="torch imported",
            must=float(np.median(seconds[:, 0])) / 0.35,
            rounds=ROUNDS,
            note=f"at most 0.35 s of processor time: least {best:.3f} s, median {np.median(seconds[:, 1]):.3f} s",
            versions=versions(("resight", "torch", "monai")),
        )
    )


def _seconds(command: list[str]) -> float:
    """Processor seconds of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return usage.ru_utime + usage.ru_stime


def _first_prediction() -> None:
    """Loaded, nothing predicted yet: the first image through the predictor against the engine's own time."""
    from benchmarks.speed import inputs
    from resight.models import Manifest, ModelOptions, Predictor, build_classifier, export_bundle, save_bundle
    from resight.preprocess import Recipe

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        options = ModelOptions(backbone={"name": "resnet", "depth": 50})
        network = build_classifier(options, labels=("a",), channels=1, dims=2).eval()
        recipe = Recipe(size_px=(224, 224))
        save_bundle(folder / "bundle", network, Manifest(labels=("a",), task="binary", recipe=recipe, model=options))
        export_bundle(folder / "bundle", "openvino")
        (path,) = inputs.png(folder, 1, 512)
        firsts, alone = [], []
        for _ in range(ROUNDS):
            predictor = Predictor.load(folder / "bundle", engine="openvino")
            prepared = predictor.prepare(path)[None]
            start = time.process_time()
            predictor.logits(prepared)
            firsts.append(time.process_time() - start)
            start = time.process_time()
            predictor.logits(prepared)
            alone.append(time.process_time() - start)
        first, engine = np.array(firsts), np.array(alone)
        ratios = engine / first
        paired(
            "17b",
            "a whole prediction of a PNG of 512 px against the engine's own time, ResNet-50",
            {
                "engine alone": lambda: predictor.logits(prepared),
                "Resight, file to table": lambda: predictor.predict(path),
            },
            must=1 / 1.10,
            difference=float(abs(predictor.predict(path).array("logit")[0, 0] - predictor.logits(prepared)[0, 0])),
            tolerance=1e-5,
            unit="logits",
            libraries=("openvino",),
            note=f"the first call after loading takes {np.median(1 / ratios):.2f} times the second",
        )


if __name__ == "__main__":
    main()
