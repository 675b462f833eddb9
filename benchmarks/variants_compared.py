"""Do the ways differ? Settings files of `benchmarks/variants` against each other on drawn cohorts, all else alike.

    python benchmarks/variants_compared.py volumes
    python benchmarks/variants_compared.py fusions
    python benchmarks/variants_compared.py stems

Every file is trained as it stands, with each of three seeds, on one thread. A seed draws a cohort of its own, the
same for all files of a group, and other weights. AUROC is that of the test part. Finished runs are kept, so that the
command goes on where it stopped; `--minutes` ends it early.
"""

import argparse
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from federated_runs import interval
from resumable import finish

from resight.cohorts import CombinationOptions, VolumePhantomOptions, write_combination, write_volume_phantom
from resight.experiments import load_experiment
from resight.experiments.judge import judge
from resight.experiments.members import train_members
from resight.experiments.prepare import prepare
from resight.types import silent

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
GROUPS = {
    "volumes": ("volume", "acs", "slices", "windows", "volume_bottlenecks"),
    "fusions": ("fusion_late", "fusion_concat", "fusion_film", "fusion_daft"),
    "stems": ("modalities_channels", "modalities_gated", "modalities_separate"),
}


def drawn(group: str, seed: int, scratch: Path) -> Path:
    """The cohort of a group and seed, drawn as the settings files say in their heads."""
    folder = scratch / f"{group}{seed}"
    if not (folder / "cohort.csv").exists():
        if group == "volumes":
            write_volume_phantom(VolumePhantomOptions(kind="mr", volumes=400, seed=seed), folder)
        elif group == "fusions":
            write_combination(CombinationOptions(kind="table", images=2000, seed=seed), folder)
        else:
            write_combination(CombinationOptions(kind="modalities", images=1000, seed=seed), folder)
    return folder / "cohort.csv"


def one_run(group: str, variant: str, seed: int, scratch: Path) -> dict[str, Any]:
    cohort, store = drawn(group, seed, scratch), scratch / "store"
    settings = load_experiment(
        HERE / "variants" / f"{variant}.toml",
        [f"cohort.path={cohort}", f"training.seed={seed}", "training.threads=1", "evaluation.bootstrap=0"],
    )
    prepared = prepare(settings, store / f"{group}{seed}", silent)
    began = time.process_time()
    ensemble = train_members(settings, prepared, scratch / f"{variant}-{seed}", resume=True, progress=silent)
    cpu_s = time.process_time() - began
    judged = judge(settings, prepared, ensemble)
    return {
        "auroc": judged.evaluation.macro["auroc"].value,
        "validation": ensemble.fits[0].best_value,
        "parameters": sum(p.numel() for p in ensemble.models[0].parameters()),
        "images": {split: int(prepared.in_split(split).sum()) for split in ("train", "validation", "test")},
        "cpu_s": round(cpu_s, 1),
    }


def page(group: str, runs: dict[str, dict[str, Any]]) -> str:
    of = {variant: [runs[f"{variant}/{seed}"] for seed in SEEDS] for variant in GROUPS[group]}
    first, *_ = of
    counts, plain = of[first][0]["images"], np.array([run["auroc"] for run in of[first]])
    lines = [
        f"# {group.capitalize()}",
        "",
        " ".join((__doc__ or "").split("\n\n")[2].split()),
        "",
        f"{counts['train']} images or volumes to learn from, {counts['test']} judged, in each of {len(SEEDS)} cohorts. "
        "Intervals are Student's over cohorts.",
        "",
        f"| file | parameters | AUROC, mean (each seed) | less {first}, 95 % interval | CPU s |",
        "|---|---|---|---|---|",
    ]
    for variant, found in of.items():
        values = np.array([run["auroc"] for run in found])
        gap = "" if variant == first else interval(list(values - plain))
        each = ", ".join(f"{value:.3f}" for value in values)
        seconds = np.mean([run["cpu_s"] for run in found])
        lines.append(
            f"| {variant} | {found[0]['parameters']:,} | {values.mean():.3f} ({each}) | {gap} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", choices=tuple(GROUPS))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "variants")
    parser.add_argument("--scratch", type=Path, default=Path("runs/variants"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after that")
    given = parser.parse_args()
    names = [f"{variant}/{seed}" for seed, variant in product(SEEDS, GROUPS[given.group])]

    def run(name: str) -> dict[str, Any]:
        variant, seed = name.split("/")
        return one_run(given.group, variant, int(seed), given.scratch)

    runs = finish(given.out / f"{given.group}.json", names, run, minutes=given.minutes)
    (given.out / f"{given.group}.md").write_text(page(given.group, runs), encoding="utf-8")


if __name__ == "__main__":
    main()
