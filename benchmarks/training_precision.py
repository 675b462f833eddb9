"""Is a network that learned in bf16 as good as one that learned in fp32? Two tasks, several seeds each.

    python benchmarks/training_precision.py --seeds 6 --scratch runs/training_precision

Every seed is another network on the same split, learned once in either format; what is finished stays in the scratch
folder. Writes results/speed/training_precision.json and .md.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from scipy import stats

from resight.evaluation import auroc_with_interval
from resight.experiments import load_experiment
from resight.experiments.members import train_members
from resight.experiments.prepare import prepare
from resight.settings import plain
from resight.types import silent

EXPERIMENTS = Path(__file__).parent / "experiments"
RESULTS = Path(__file__).parent / "results" / "speed"
TASKS = {"pneumonia": "cxr_pneumonia.toml", "melanoma": "isic_melanoma.toml"}
PRECISIONS = ("fp32", "bf16")
SMALL = ("recipe.size_px=[64,64]", "training.epochs=8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--scratch", type=Path, required=True)
    chosen = parser.parse_args()
    runs = [
        _run(chosen.scratch / task, task, seed, precision)
        for seed in range(chosen.seeds)
        for task in TASKS
        for precision in PRECISIONS
    ]
    text = "\n".join(_lines(runs, chosen.seeds)) + "\n"
    (RESULTS / "training_precision.md").write_text(text, encoding="utf-8")
    (RESULTS / "training_precision.json").write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print(text)


def _run(scratch: Path, task: str, seed: int, precision: str) -> dict:
    done = scratch / f"{precision}-{seed}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    settings = load_experiment(EXPERIMENTS / TASKS[task], [*SMALL, f"training.precision={precision}"])
    prepared = prepare(settings, scratch / "store", silent)  # before the seed is set: the same split for all
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})
    ensemble = train_members(settings, prepared, scratch / f"{precision}-{seed}", resume=True, progress=silent)
    test = prepared.in_split("test")
    targets, scores = prepared.cohort.targets()[test, 0], ensemble.logits[test, 0]
    fit = ensemble.fits[0]
    found = {
        "task": task,
        "seed": seed,
        "precision": precision,
        "auroc": plain(auroc_with_interval(targets, scores)),
        "test_images": int(np.isfinite(targets).sum()),
        "training_images": int(prepared.in_split("train").sum()),
        "epochs": len(fit.history),
        "seconds": fit.seconds,
    }
    done.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def _lines(runs: list[dict], seeds: int) -> list[str]:
    lines = [
        "### Learning in bf16",
        "",
        f"`python benchmarks/training_precision.py --seeds {seeds} --scratch runs/training_precision`; ResNet-18 at"
        f" 64 px, {runs[0]['epochs']} epochs, {seeds} seeds, each learned in both formats on the same split. Behind"
        " +/-: standard deviation between seeds. Change: mean of the differences seed by seed, with a 95 % t-interval."
        " Last column: half the 95 % interval (DeLong) of a single network's AUROC, on average.",
        "",
        "| task | training, test images | AUROC, fp32 | bf16 | change | a single AUROC is known to |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return [*lines, *(_line(task, [run for run in runs if run["task"] == task]) for task in TASKS)]


def _line(task: str, runs: list[dict]) -> str:
    fp32, bf16 = (np.array([run["auroc"]["value"] for run in runs if run["precision"] == p]) for p in PRECISIONS)
    change = bf16 - fp32
    margin = float(stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / math.sqrt(len(change)))
    known = np.mean([(run["auroc"]["high"] - run["auroc"]["low"]) / 2 for run in runs])
    each = [f"{values.mean():.4f} +/- {values.std(ddof=1):.4f}" for values in (fp32, bf16)]
    return (
        f"| {task} | {runs[0]['training_images']}, {runs[0]['test_images']} | {each[0]} | {each[1]}"
        f" | {change.mean():+.4f} ({change.mean() - margin:+.4f} to {change.mean() + margin:+.4f}) | {known:.3f} |"
    )


if __name__ == "__main__":
    main()
