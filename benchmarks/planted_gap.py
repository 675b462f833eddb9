"""A gap between groups that was planted in a cohort, and what each mitigation makes of it.

    python benchmarks/planted_gap.py --out benchmarks/results/fairness

Drawn chest X-rays show a mass in half of the AP and in a tenth of the PA exposures. A network sees the view at a glance
and calls masses less readily on PA images. It is trained by `benchmarks/experiments/phantom_bias.toml` as usual and
with each mitigation; thresholds by group are chosen on the validation images; all are judged on the same test images.
Finished runs are kept in `--scratch`, so that the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from resight.cohorts import PhantomOptions, write_phantom
from resight.experiments import load_experiment, train_experiment
from resight.fairness import AuditOptions, Effect, audit, effects, mitigate
from resight.predictions import Predictions
from resight.settings import validate, write_json

EXPERIMENT = Path(__file__).parent / "experiments" / "phantom_bias.toml"
PLANTED = {
    "images": 3000,
    "size_px": 64,
    "findings": ["Mass"],
    "prevalence": 0.5,
    "images_per_patient": 1,
    "portable": 0.5,
    "difficulty": 0.7,
    "bias": {"attribute": "view", "value": "PA", "prevalence": 0.2},
    "splits": [0.5, 0.2, 0.3],
}
TRAINED = {
    "group_reweighted": ["training.objective.name=group_reweighted"],
    "group_sampler": ["training.imbalance=group_sampler"],
    "group_dro": ["training.objective.name=group_dro", "training.objective.options.step_size=0.1"],
    "adversarial": ["training.objective.name=adversarial"],
}
AFTERWARDS = ("equal_sensitivity", "equalised_odds")
SHOWN = ("sensitivity_gap", "fpr_gap", "balanced_accuracy", "brier")
BY_VIEW = AuditOptions(by=("view",))


def predictions_of(name: str, overrides: list[str], scratch: Path) -> Predictions:
    """Of a run that is trained unless it is finished."""
    folder = scratch / name
    if not (folder / "report.html").exists():
        overrides = [f"cohort.path={scratch / 'cohort' / 'cohort.csv'}", *overrides]
        train_experiment(load_experiment(EXPERIMENT, overrides), folder, resume=True)
        print(name, "trained", flush=True)
    return Predictions.read(folder / "predictions.csv")


def row(name: str, changes: dict[str, Effect]) -> str:
    cells = [
        f"{e.after} ({e.change.value:+.2f}, {e.change.low:+.2f} to {e.change.high:+.2f})" for e in changes.values()
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=Path("runs/planted_gap"))
    given = parser.parse_args()
    if not (given.scratch / "cohort" / "cohort.csv").exists():
        write_phantom(validate(PhantomOptions, PLANTED, where=__file__), given.scratch / "cohort")
    usual = predictions_of("usual", [], given.scratch)
    after = {f"`{name}`": predictions_of(name, overrides, given.scratch) for name, overrides in TRAINED.items()}
    for method in AFTERWARDS:
        after[f"`{method}`, after training"] = mitigate(usual, method, BY_VIEW).predictions
    found = {
        name: {e.metric: e for e in effects(usual, table, BY_VIEW) if e.metric in SHOWN}
        for name, table in after.items()
    }
    before = next(iter(found.values()))
    lines = [
        "| training | " + " | ".join(metric.replace("_", " ") for metric in SHOWN) + " |",
        "| --- |" + " --- |" * len(SHOWN),
        "| usual | " + " | ".join(str(before[metric].before) for metric in SHOWN) + " |",
        *(row(name, changes) for name, changes in found.items()),
    ]
    (given.out / "planted.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    groups = audit(usual, BY_VIEW).groups
    shown = ("images", "positives")
    facts = {
        "planted": PLANTED,
        "usual": {
            g.group: {name: getattr(g, name) for name in shown} | {m: g.metrics[m] for m in ("sensitivity", "fpr")}
            for g in groups
            if g.label
        },
        "effects": found,
    }
    write_json(given.out / "planted.json", facts)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
