"""What is learned at a stated epsilon: a head on features that stay as they are, at simulated hospitals.

    python benchmarks/federated_privacy.py [--seeds 3] [--minutes 8] [--data ../shared/data/cxr_pneumonia_kermany]

Noise for single images at three sites (5 steps, each over all images of a site), and noise for whole sites at three
and at twenty (3 steps, under secure aggregation). Learning rates and clipping norms were chosen on
validation images of seed 0. Runs that are finished are not run again. Writes results/federation/privacy-SEED.json and
privacy.md.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

from federated_runs import EXPERIMENTS, Kept, arguments, interval, write_table

from resight.backbones.efficientnet_lite import lite0_weights
from resight.experiments import load_experiment
from resight.experiments.prepare import prepare
from resight.federated import FederatedSettings
from resight.federated.privacy import EpsilonLedger
from resight.federated.simulate import run_sites
from resight.federated.sites import make_sites
from resight.types import silent

EXPERIMENT = EXPERIMENTS / "federated_privacy.toml"
DELTA = 1e-5
EXAMPLE = ["federation.rounds=5", "training.learning_rate=0.032", "federation.privacy.clip_norm=10"]
SITE = ["federation.rounds=3", "training.learning_rate=0.001", "federation.privacy.clip_norm=0.01"]
CASES = {
    "images, 3 sites": ("example", 3, 5, EXAMPLE),
    "sites, 3 sites": ("site", 3, 3, SITE),
    "sites, 20 sites": ("site", 20, 3, SITE),
}
EPSILONS = {"example": (0.0, 8.0, 4.0, 2.0, 1.0), "site": (0.0, 8.0)}


def noise_for(epsilon: float, uses: int) -> float:
    """The smallest noise multiplier, to 1 %, with which so many uses of all images cost no more than epsilon."""
    noise = 0.3
    while EpsilonLedger(DELTA, [(noise, 1.0, uses)]).epsilon() > epsilon:
        noise *= 1.01
    return noise


def run(case: str, epsilon: float, seed: int, data: Path, work: Path) -> dict[str, Any]:
    kind, sites, uses, words = CASES[case]
    overrides = [
        *(f"cohort.path={data}", f"training.seed={seed}", f"split.seed={seed}", f"model.weights={lite0_weights()}"),
        *(f"simulation.sites={sites}", f"federation.min_sites={sites}", *words),
    ]
    if epsilon:
        overrides += [f"federation.privacy.differential={kind}", f"federation.privacy.noise={noise_for(epsilon, uses)}"]
        overrides += ["federation.privacy.secure_aggregation=true"] if kind == "site" else []
    settings = load_experiment(EXPERIMENT, overrides, FederatedSettings)
    prepared = prepare(settings, work / f"store-{seed}", silent)
    began = time.process_time()
    folder = work / f"{kind}-{sites}-{epsilon:g}-{seed}"
    outcome = run_sites(case, settings, make_sites(settings, prepared), folder, resume=True)
    spent = outcome.history.rounds[-1].get("epsilon", 0.0)
    if kind == "example" and epsilon:
        ledgers = folder.glob("sites/*/ledger.jsonl")
        facts = [json.loads(line)["facts"] for path in ledgers for line in path.read_text().splitlines()]
        spent = max(one.get("epsilon", 0.0) for one in facts)
    figures = outcome.audit.pooled[0].evaluation.labels[0].metrics
    return {
        "auroc": figures["auroc"].value,
        "brier": figures["brier"].value,
        "epsilon": spent,
        "noise": settings.federation.privacy.noise if epsilon else 0.0,
        "cpu_s": round(time.process_time() - began, 1),
    }


def table(seeds: int) -> None:
    lines = [
        "# Utility at a stated epsilon",
        "",
        "By `benchmarks/federated_privacy.py`: test AUROC of pneumonia over all sites' images (201 a seed), mean over",
        "seeds with the 95 % t-interval; each seed draws another split and other sites. Epsilon at delta = 1e-5, the",
        "largest that a site's ledger or the server's states.",
        "",
        "| noise hides | epsilon | noise multiplier | test AUROC | Brier score |",
        "|---|---|---|---|---|",
    ]
    found = [Kept(f"privacy-{seed}.json").results for seed in range(seeds)]
    for case, (kind, *_) in CASES.items():
        for epsilon in EPSILONS[kind]:
            rows = [one[f"{case}, {epsilon:g}"] for one in found if f"{case}, {epsilon:g}" in one]
            if len(rows) < seeds:
                continue
            spent = f"{max(row['epsilon'] for row in rows):.2f}" if epsilon else "none given"
            columns = [[row[key] for row in rows] for key in ("auroc", "brier")]
            words = [case, spent, f"{rows[0]['noise']:.2f}", *(interval(column) for column in columns)]
            lines.append("| " + " | ".join(words) + " |")
    write_table("privacy.md", lines)


if __name__ == "__main__":
    given = arguments("resight-privacy")
    end = time.monotonic() + 60 * given.minutes
    plan = [(case, epsilon) for case, (kind, *_) in CASES.items() for epsilon in EPSILONS[kind]]
    for (case, epsilon), seed in itertools.product(plan, range(given.seeds)):
        kept, name = Kept(f"privacy-{seed}.json"), f"{case}, {epsilon:g}"
        if name in kept.results or time.monotonic() > end:
            continue
        kept.keep(**{name: run(case, epsilon, seed, given.data.resolve(), given.work)})
        print(seed, name, kept.results[name], flush=True)
    table(given.seeds)
