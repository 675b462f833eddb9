"""Is a network that learned in bf16 as good as one that learned in fp32? Pneumonia in children, several seeds each.

    python benchmarks/training_precision.py --seeds 3 --scratch runs/training_precision

Every seed is another network on the same split; what is finished stays in the scratch folder. Writes
results/speed/training_precision.json and .md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from resight.evaluation import auroc_with_interval
from resight.experiments import load_experiment
from resight.experiments.members import train_members
from resight.experiments.prepare import prepare
from resight.settings import plain
from resight.types import silent

SETTINGS = Path(__file__).parent / "experiments" / "cxr_pneumonia.toml"
RESULTS = Path(__file__).parent / "results" / "speed"
PRECISIONS = ("fp32", "bf16")
SMALL = ("recipe.size_px=[64,64]", "training.epochs=8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, required=True)
    chosen = parser.parse_args()
    runs = [_run(chosen.scratch, seed, precision) for seed in range(chosen.seeds) for precision in PRECISIONS]
    text = "\n".join(_lines(runs)) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "training_precision.md").write_text(text, encoding="utf-8")
    (RESULTS / "training_precision.json").write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print(text)


def _run(scratch: Path, seed: int, precision: str) -> dict:
    done = scratch / f"{precision}-{seed}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    settings = load_experiment(SETTINGS, [*SMALL, f"training.precision={precision}"])
    prepared = prepare(settings, scratch / "store", silent)  # before the seed is set: the same split for all
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})
    folder = scratch / f"{precision}-{seed}"
    ensemble = train_members(settings, prepared, folder, resume=True, progress=silent)
    test = prepared.in_split("test")
    targets, scores = prepared.cohort.targets()[test, 0], ensemble.logits[test, 0]
    fit = ensemble.fits[0]
    found = {
        "seed": seed,
        "precision": precision,
        "auroc": plain(auroc_with_interval(targets, scores)),
        "test_images": int(test.sum()),
        "training_images": int(prepared.in_split("train").sum()),
        "epochs": len(fit.history),
        "seconds": fit.seconds,
    }
    done.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def _lines(runs: list[dict]) -> list[str]:
    told = {p: [run["auroc"] for run in runs if run["precision"] == p] for p in PRECISIONS}
    of = {p: np.array([each["value"] for each in told[p]]) for p in PRECISIONS}
    change = of["bf16"] - of["fp32"]
    first = runs[0]
    lines = [
        "### Learning in bf16",
        "",
        f"`python benchmarks/training_precision.py --seeds {len(change)} --scratch runs/training_precision`;"
        f" ResNet-18 at 64 px, pneumonia, {first['training_images']} training and {first['test_images']} test images,"
        f" {first['epochs']} epochs.",
        "",
        "| seed | AUROC, learned in fp32 | in bf16 | change |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {seed} | {_with_interval(fp32)} | {_with_interval(bf16)} | {change[seed]:+.4f} |"
        for seed, (fp32, bf16) in enumerate(zip(told["fp32"], told["bf16"], strict=True))
    ]
    return [
        *lines,
        "",
        f"Mean change {change.mean():+.4f}; between seeds alone the AUROC has a standard deviation of"
        f" {of['fp32'].std(ddof=1):.4f} in fp32 and {of['bf16'].std(ddof=1):.4f} in bf16.",
    ]


def _with_interval(found: dict) -> str:
    return f"{found['value']:.4f} ({found['low']:.3f}-{found['high']:.3f})"


if __name__ == "__main__":
    main()
