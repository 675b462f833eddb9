"""Row 17: what it costs to say how it is used; and a warm service's first prediction against the engine alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed.measure import one_thread, record, require_equal

ROUNDS, LOADS = 3, 7
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
    seconds = np.array([[_seconds(command) for command in COMMANDS.values()] for _ in range(ROUNDS)])
    best = float(seconds[:, 1].min())
    require_equal("17", float(with_torch), 0.0, "torch imported")
    record(
        "17",
        "start-up: resight --help",
        dict(zip(COMMANDS, seconds.T, strict=True)),
        difference=float(with_torch),
        tolerance=0.0,
        unit="torch imported",
        must=float(np.median(seconds[:, 0])) / 0.35,
        note=f"at most 0.35 s of processor time: least {best:.3f} s, median {np.median(seconds[:, 1]):.3f} s",
        libraries=("torch", "monai"),
    )


def _seconds(command: list[str]) -> float:
    """Processor seconds of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return usage.ru_utime + usage.ru_stime


def _first_prediction() -> None:
    """Loaded and checked as the service does it, which reads pictures in other processes: the first picture."""
    from benchmarks.speed import inputs
    from resight.imaging import read
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
        grey = np.full((1, *recipe.size_px), 128, np.uint8)
        image = read(path)
        names = ("engine alone", "Resight, first prediction", "later predictions, with reading the file")
        seconds: dict[str, list[float]] = {name: [] for name in names}
        difference = 0.0
        for _ in range(LOADS):
            predictor = Predictor.load(folder / "bundle", engine="openvino")
            predictor.predict(grey)
            first = _timed(lambda predictor=predictor: predictor.predict([image]))
            prepared = predictor.prepare(path)[None]
            alone = [_timed(lambda predictor=predictor, p=prepared: predictor.logits(p)) for _ in range(5)]
            later = [_timed(lambda predictor=predictor: predictor.predict(path)) for _ in range(5)]
            for name, value in zip(names, (np.median(alone), first, np.median(later)), strict=True):
                seconds[name].append(float(value))
            answers = predictor.predict(path).array("logit")[0, 0], predictor.logits(prepared)[0, 0]
            difference = max(difference, float(abs(answers[0] - answers[1])))
    require_equal("17b", difference, 1e-5, "logits")
    record(
        "17b",
        "first prediction of a warm service against the engine's own time, ResNet-50",
        {name: np.array(values) for name, values in seconds.items()},
        difference=difference,
        tolerance=1e-5,
        unit="logits",
        must=1 / 1.10,
        note="1 / 1.10 or more: all the rest costs at most a tenth of the engine's time",
        libraries=("openvino",),
    )


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
