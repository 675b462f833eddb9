"""Is a network that learned in bf16 as good as one that learned in fp32? Pneumonia in children, several seeds each.

    python benchmarks/training_precision.py --size-px 32 --seeds 6 --scratch runs/training_precision
    python benchmarks/training_precision.py --size-px 64 --seeds 3 --scratch runs/training_precision

Every seed is another network on the same split, learned once in either format; what is finished stays in the scratch
folder. Writes results/speed/training_precision_SIZEpx.json and .md.
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

SETTINGS = Path(__file__).parent / "experiments" / "cxr_pneumonia.toml"
RESULTS = Path(__file__).parent / "results" / "speed"
PRECISIONS = ("fp32", "bf16")
EPOCHS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, required=True)
    chosen = parser.parse_args()
    scratch = chosen.scratch / f"{chosen.size_px}px"
    runs = [_run(scratch, chosen.size_px, seed, precision) for seed in range(chosen.seeds) for precision in PRECISIONS]
    text = "\n".join(_lines(runs, chosen.size_px)) + "\n"
    path = RESULTS / f"training_precision_{chosen.size_px}px"
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print(text)


def _run(scratch: Path, size_px: int, seed: int, precision: str) -> dict:
    done = scratch / f"{precision}-{seed}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    smaller = [f"recipe.size_px=[{size_px},{size_px}]", f"training.epochs={EPOCHS}"]
    settings = load_experiment(SETTINGS, [*smaller, f"training.precision={precision}"])
    prepared = prepare(settings, scratch / "store", silent)  # before the seed is set: the same split for all
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})
    ensemble = train_members(settings, prepared, scratch / f"{precision}-{seed}", resume=True, progress=silent)
    test = prepared.in_split("test")
    found = {
        "seed": seed,
        "precision": precision,
        "auroc": plain(auroc_with_interval(prepared.cohort.targets()[test, 0], ensemble.logits[test, 0])),
        "test_images": int(test.sum()),
        "training_images": int(prepared.in_split("train").sum()),
        "seconds": ensemble.fits[0].seconds,
    }
    done.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def _lines(runs: list[dict], size_px: int) -> list[str]:
    fp32, bf16 = (np.array([run["auroc"]["value"] for run in runs if run["precision"] == p]) for p in PRECISIONS)
    change, first = bf16 - fp32, runs[0]
    margin = float(stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / math.sqrt(len(change)))
    known = np.mean([(run["auroc"]["high"] - run["auroc"]["low"]) / 2 for run in runs])
    rows = zip(range(len(change)), fp32, bf16, change, strict=True)
    return [
        f"### Learning in bf16, {size_px} px",
        "",
        f"`python benchmarks/training_precision.py --size-px {size_px} --seeds {len(change)}"
        f" --scratch runs/training_precision`; ResNet-18, pneumonia, {first['training_images']} training and"
        f" {first['test_images']} test images, {EPOCHS} epochs.",
        "",
        "| seed | AUROC, learned in fp32 | in bf16 | change |",
        "| --- | --- | --- | --- |",
        *(f"| {seed} | {one:.4f} | {other:.4f} | {less:+.4f} |" for seed, one, other, less in rows),
        "",
        f"Mean change {change.mean():+.4f} (95 % t-interval over seeds: {change.mean() - margin:+.4f} to"
        f" {change.mean() + margin:+.4f}). Between seeds alone the AUROC has a standard deviation of"
        f" {fp32.std(ddof=1):.4f} in fp32 and {bf16.std(ddof=1):.4f} in bf16; the test images alone leave each"
        f" uncertain by {known:.3f} (half the 95 % interval by DeLong, on average).",
    ]


if __name__ == "__main__":
    main()
