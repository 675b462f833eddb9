"""What exits and gates save, and what they cost: AUROC against FLOPs and against measured time.

    python benchmarks/adaptive.py --out benchmarks/results/adaptive

A ResNet-18 of half width is trained from scratch as it is, with exits after stages 1 to 3, and with gates, on the
phantom cohort and on children's chest X-rays; each seed has another split and other weights. Limits and thresholds are
fitted on the validation images; all figures are from the test images. The budget of 0.7 was set before any result was
seen. Finished runs are kept in `runs.json`, so that the command goes on where it stopped.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from resight.cohorts import PhantomOptions, write_phantom
from resight.experiments import ExperimentSettings
from resight.experiments.budgets import study_budgets
from resight.experiments.judge import judge
from resight.experiments.members import train_members
from resight.experiments.prepare import prepare
from resight.models.adaptive import measure_costs, run_within
from resight.settings import validate, write_json
from resight.types import silent

SEEDS = (0, 1, 2)
BUDGETS = (0.7, 0.5)
PLAIN = {"name": "resnet", "depth": 18, "width": 32}
MODELS = {
    "plain": {"backbone": PLAIN},
    "exits": {"backbone": PLAIN, "exits": {"after": ["stage1", "stage2", "stage3"]}},
    "gates": {"backbone": {**PLAIN, "gate_target": 0.6}},
}
FINDINGS = ("Cardiomegaly", "Effusion", "Mass", "Pneumothorax")
SIZE_PX = 96


def cohorts(scratch: Path) -> dict[str, dict[str, object]]:
    phantom = scratch / "phantom"
    if not (phantom / "cohort.csv").exists():
        write_phantom(PhantomOptions(images=800, size_px=SIZE_PX, findings=FINDINGS, prevalence=0.25, seed=0), phantom)
    pneumonia = "../shared/data/cxr_pneumonia_kermany/index.csv"
    return {
        "phantom": {"path": str(phantom / "cohort.csv"), "labels": FINDINGS},
        "pneumonia": {"path": pneumonia, "label_column": "label", "positive": "PNEUMONIA"},
    }


def settings_for(cohort: dict[str, object], model: str, seed: int, store: Path) -> ExperimentSettings:
    return validate(
        ExperimentSettings,
        {
            "cohort": cohort,
            "split": {"fractions": [0.6, 0.15, 0.25], "seed": seed},
            "recipe": {"size_px": [SIZE_PX, SIZE_PX], "channels": 1},
            "augmentation": {"rotate_deg": 5.0, "scale": 0.05, "translate": 0.03, "gain": 0.1},
            "model": MODELS[model],
            "training": {"epochs": 10, "precision": "bf16", "threads": 1, "seed": seed},
            "evaluation": {"bootstrap": 500},
            "store": {"folder": str(store)},
        },
        where="benchmarks/adaptive.py",
    )


def one_run(name: str, cohort: dict[str, object], model: str, seed: int, scratch: Path) -> dict[str, object]:
    settings = settings_for(cohort, model, seed, scratch / "store" / name)
    prepared = prepare(settings, scratch / "store" / name, silent)
    ensemble = train_members(settings, prepared, scratch / f"{name}-{model}-{seed}", resume=True, progress=silent)
    judged = judge(settings, prepared, ensemble)
    found: dict[str, object] = {
        "auroc": judged.evaluation.macro["auroc"].value,
        "train": int(prepared.in_split("train").sum()),
        "test": int(prepared.in_split("test").sum()),
    }
    network = ensemble.models[0].eval()
    images = [
        torch.from_numpy(np.array(prepared.store[int(row)])[None])
        for row in prepared.rows[prepared.in_split("test")][:64]
    ]
    found["profile"] = {"whole": profiled(network, network, images)}
    found["flops"] = measure_costs(network, (1, SIZE_PX, SIZE_PX)).whole
    study = study_budgets(settings, prepared, ensemble, judged, silent)
    if study is None:
        return found
    found["study"] = study.to_dict()
    found["points"] = [point.share for point in study.budgets.points]
    costs = measure_costs(network, (1, SIZE_PX, SIZE_PX))
    for budget in BUDGETS:
        if min(found["points"]) > budget:
            continue
        point = study.budgets.choose(budget, where=name)

        def run(image: torch.Tensor, point=point) -> object:
            return run_within(network, image, point, study.budgets.deciding, prepared.cohort.task, costs)

        found["profile"][str(budget)] = profiled(network, run, images)
    return found


def profiled(network: torch.nn.Module, run, images: list[torch.Tensor]) -> dict[str, dict[str, float]]:
    """Calls and milliseconds of each residual unit's branch and each exit over the images, one by one, in fp32."""
    parts = dict(network.exits.named_children())
    for name, unit in network.backbone.named_modules():
        if hasattr(unit, "attention") and hasattr(unit, "conv1"):
            parts[name] = unit.conv1, unit.last_norm
    calls, took, began = defaultdict(int), defaultdict(float), {}

    def enter(name):
        return lambda *_: began.update({name: time.perf_counter()})

    def leave(name):
        def hook(*_):
            calls[name] += 1
            took[name] += 1000 * (time.perf_counter() - began[name])

        return hook

    hooks = []
    for name, part in parts.items():
        first, last = part if isinstance(part, tuple) else (part, part)
        hooks += [first.register_forward_pre_hook(enter(name)), last.register_forward_hook(leave(name))]
    with torch.inference_mode():
        run(images[0])
        calls.clear(), took.clear()
        for image in images:
            run(image)
    for hook in hooks:
        hook.remove()
    return {name: {"calls": calls[name], "ms": round(took[name], 2)} for name in parts}


def bought(run: dict[str, object], budget: float) -> dict[str, object] | None:
    """The result of the best point within a budget."""
    within = [number for number, share in enumerate(run["points"]) if share <= budget + 1e-9]
    return run["study"]["results"][within[-1]] if within else None


def page(runs: dict[str, dict[str, object]]) -> str:
    lines = ["# Less work per image", "", " ".join((__doc__ or "").split("\n\n")[2].split()), ""]
    seeds = [seed for seed in SEEDS if all(f"{c}/{m}/{seed}" in runs for c in ("phantom", "pneumonia") for m in MODELS)]
    for cohort in ("phantom", "pneumonia"):
        plain = [runs[f"{cohort}/plain/{seed}"] for seed in seeds]
        mean = np.mean([run["auroc"] for run in plain])
        lines += [f"## {cohort}: {plain[0]['train']} training images, {plain[0]['test']} test images", ""]
        lines += [
            f"Seeds: {', '.join(map(str, seeds))}. The plain network: AUROC {mean:.4f}.",
            "",
        ]
        lines += ["| network | budget | seed | FLOPs | AUROC whole | AUROC | change, 95 % interval | time | falls |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for model in ("exits", "gates"):
            for budget in BUDGETS:
                for seed in seeds:
                    run = runs[f"{cohort}/{model}/{seed}"]
                    lines.append(f"| {model} | {budget} | {seed} | " + _cells(run, bought(run, budget)) + " |")
                lines.append(
                    f"| {model} | {budget} | mean | "
                    + _means([runs[f"{cohort}/{model}/{seed}"] for seed in seeds], budget, plain)
                    + " |"
                )
        lines += ["", *_exits(runs[f"{cohort}/exits/0"]), *_profile(runs, cohort)]
    return "\n".join(lines) + "\n"


def _cells(run: dict[str, object], got: dict[str, object] | None) -> str:
    if got is None:
        return f"none below {min(run['points']):.2f} | {run['auroc']:.4f} | | | |"
    change = got["change"]
    gap = "not estimable" if change["value"] is None else f"{change['value']:+.4f}"
    if change["low"] is not None:
        gap += f" ({change['low']:+.4f} to {change['high']:+.4f})"
    gain = run["study"]["whole_seconds"] / got["seconds"]
    falls = [g for g in got["groups"] if g["high"] is not None and g["high"] < 0]
    counted = f"{len(falls)} of {len(got['groups'])}"
    return f"{got['share']:.2f} | {run['auroc']:.4f} | {got['auroc']:.4f} | {gap} | x{gain:.2f} | {counted}"


def _means(runs: list[dict[str, object]], budget: float, plain: list[dict[str, object]]) -> str:
    got = [(run, bought(run, budget)) for run in runs]
    if any(point is None for _, point in got):
        return "| | | | |"
    share = np.mean([point["share"] for _, point in got])
    whole, auroc = np.mean([run["auroc"] for run, _ in got]), np.mean([point["auroc"] for _, point in got])
    gain = np.mean([run["study"]["whole_seconds"] / point["seconds"] for run, point in got])
    gap = f"{auroc - whole:+.4f} to itself, {auroc - np.mean([run['auroc'] for run in plain]):+.4f} to plain"
    return f"{share:.2f} | {whole:.4f} | {auroc:.4f} | {gap} | x{gain:.2f} |"


def _exits(run: dict[str, object]) -> list[str]:
    got = bought(run, BUDGETS[0])
    if got is None:
        return []
    lines = [f"Exits against difficulty at a budget of {BUDGETS[0]} (seed 0): Brier score of the whole network.", ""]
    lines += ["| left at | images | Brier |", "|---|---|---|"]
    for row in got["exits"]:
        brier = row["brier"]["value"]
        lines.append(f"| {row['name']} | {row['images']} | {'' if brier is None else f'{brier:.4f}'} |")
    return [*lines, ""]


def _profile(runs: dict[str, dict[str, object]], cohort: str) -> list[str]:
    lines = ["Calls and milliseconds of every part over 64 test images, one by one (seed 0):", ""]
    lines += ["| part | exits, whole | exits, 0.7 | gates, whole | gates, 0.7 |", "|---|---|---|---|---|"]
    ways = [
        runs[f"{cohort}/{model}/0"]["profile"].get(way, {}) for model in ("exits", "gates") for way in ("whole", "0.7")
    ]
    for name in dict.fromkeys(name for way in ways for name in way):
        cells = [f"{way[name]['calls']} calls, {way[name]['ms']:.1f} ms" if name in way else "" for way in ways]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adaptive"))
    parser.add_argument("--scratch", type=Path, default=Path("runs/adaptive"))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    kept = given.out / "runs.json"
    runs = json.loads(kept.read_text()) if kept.exists() else {}
    began = time.monotonic()
    for seed in SEEDS:
        for name, cohort in cohorts(given.scratch).items():
            for model in MODELS:
                if (key := f"{name}/{model}/{seed}") in runs:
                    continue
                if time.monotonic() - began > 60 * given.minutes:
                    return
                runs[key] = one_run(name, cohort, model, seed, given.scratch)
                write_json(kept, runs)
                print(key, runs[key]["auroc"], flush=True)
        (given.out / "adaptive.md").write_text(page(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
