"""Do attention layers and stochastic depth help? SE, ECA, CBAM and skipped units against none, all else alike.

    python benchmarks/attention.py --out benchmarks/results/attention

A ResNet-18 of half width is trained from scratch on two cohorts, with the same images, epochs, batches and learning
rate whatever is added. Stochastic depth leaves the branch of a unit out for some training images, at a rate that rises
from 0 at the first unit to 0.2 at the last; it is compared on ISIC-2017 alone. Each seed draws a new split (by patient
for the X-rays; ISIC-2017 names no patients, so by image) and new weights. Finished runs are kept in `runs.json`, so
that the command goes on where it stopped; `--minutes` ends it early.
"""

import argparse
import time
from itertools import product
from pathlib import Path

import numpy as np
from resumable import finish

from resight.evaluation.resampled import corrected_resampled_t_test
from resight.experiments import ExperimentSettings
from resight.experiments.judge import judge
from resight.experiments.members import train_members
from resight.experiments.prepare import prepare
from resight.settings import validate
from resight.types import silent

ATTENTION = ("none", "se", "eca", "cbam")
DEPTH = "stochastic depth"
SEEDS = (0, 1, 2)
COHORTS = {
    "pneumonia": {
        "cohort": {
            "path": "../shared/data/cxr_pneumonia_kermany/index.csv",
            "label_column": "label",
            "positive": "PNEUMONIA",
        },
        "kinds": ATTENTION,
        "split": {"fractions": [0.6, 0.15, 0.25]},
        "recipe": {"size_px": [96, 96], "channels": 1},
        "training": {"epochs": 12},
    },
    "isic2017": {
        "cohort": {
            "path": "../shared/data/derm_isic2017/index.csv",
            "labels": ["melanoma", "seborrheic_keratosis"],
            "task": "multilabel",
        },
        "kinds": (*ATTENTION, DEPTH),
        "split": {"fractions": [0.6, 0.15, 0.25], "group": ["none"]},
        "recipe": {"size_px": [64, 64], "channels": 3},
        "training": {"epochs": 6},
    },
}
AUGMENTATION = {"rotate_deg": 10.0, "scale": 0.1, "translate": 0.05, "gain": 0.1}


def settings_for(cohort: str, kind: str, seed: int, store: Path) -> ExperimentSettings:
    part = COHORTS[cohort]
    added = {"drop_path": 0.2} if kind == DEPTH else {"attention": kind}
    return validate(
        ExperimentSettings,
        {
            "name": f"{cohort} {kind} {seed}",
            "cohort": part["cohort"],
            "split": {**part["split"], "seed": seed},
            "recipe": part["recipe"],
            "augmentation": AUGMENTATION,
            "model": {"backbone": {"name": "resnet", "depth": 18, "width": 32, **added}},
            "training": {"precision": "bf16", "threads": 1, "seed": seed, **part["training"]},
            "evaluation": {"bootstrap": 0},
            "store": {"folder": store / cohort},
        },
        where="benchmarks/attention.py",
    )


def one_run(cohort: str, kind: str, seed: int, scratch: Path) -> dict[str, float]:
    settings = settings_for(cohort, kind, seed, scratch / "store")
    prepared = prepare(settings, settings.store.folder, silent)
    folder = scratch / f"{cohort}-{kind}-{seed}"
    began = time.process_time()
    ensemble = train_members(settings, prepared, folder, resume=True, progress=silent)
    judged = judge(settings, prepared, ensemble)
    return {
        "auroc": judged.evaluation.macro["auroc"].value,
        "train": int(prepared.in_split("train").sum()),
        "test": int(prepared.in_split("test").sum()),
        "parameters": sum(p.numel() for p in ensemble.models[0].parameters()),
        "cpu_s": round(time.process_time() - began, 1),
    }


def page(runs: dict[str, dict[str, float]]) -> str:
    words = " ".join((__doc__ or "").split("\n\n")[2].split())
    lines = ["# Attention layers and stochastic depth at the same budget", "", words, ""]
    for cohort in COHORTS:
        of = {kind: [runs[f"{cohort}/{kind}/{seed}"] for seed in SEEDS] for kind in COHORTS[cohort]["kinds"]}
        first = of["none"][0]
        lines += [f"## {cohort}: {first['train']} training images, {first['test']} test images, {len(SEEDS)} seeds", ""]
        lines += ["| added | parameters | AUROC, mean (least to most) | difference to none, 95 % interval | CPU s |"]
        lines += ["|---|---|---|---|---|"]
        plain = np.array([run["auroc"] for run in of["none"]])
        for kind, found in of.items():
            values = np.array([run["auroc"] for run in found])
            test = corrected_resampled_t_test(values, plain, n_train=first["train"], n_test=first["test"])
            gap = "" if kind == "none" else f"{test.difference:+.3f} ({test.low:+.3f} to {test.high:+.3f})"
            spread = f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"
            seconds = np.mean([run["cpu_s"] for run in found])
            lines.append(f"| {kind} | {found[0]['parameters']:,} | {spread} | {gap} | {seconds:.0f} |")
        lines.append("")
    lines.append("Intervals: corrected t-test over repeated splits (Nadeau and Bengio 2003).")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/attention"))
    parser.add_argument("--scratch", type=Path, default=Path("runs/attention"))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    names = [f"{c}/{kind}/{seed}" for seed, c in product(SEEDS, COHORTS) for kind in COHORTS[c]["kinds"]]

    def run(name: str) -> dict[str, float]:
        cohort, kind, seed = name.split("/")
        return one_run(cohort, kind, int(seed), given.scratch)

    runs = finish(given.out / "runs.json", names, run, minutes=given.minutes)
    (given.out / "attention.md").write_text(page(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
