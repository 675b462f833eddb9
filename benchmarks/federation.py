"""Strategies beside pooled training and each site alone, on simulated hospitals with planted differences.

    python benchmarks/federation.py [--seeds 3] [--minutes 8] [--data ../shared/data/cxr_pneumonia_kermany]

Scenarios: `scanners` (grey values of sites moved apart), `labels` (Dirichlet label skew, alpha 0.5). Every method is a
run of its own that goes on where it was interrupted; one that is finished is not run again, so that a study longer than
the minutes given is made by running this again. Writes results/federation/SCENARIO-SEED.json and table.md.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from federated_runs import EXPERIMENTS, RESULTS, Kept, arguments, interval, write_table

from resight.experiments import load_experiment
from resight.experiments.prepare import prepare
from resight.federated import FederatedSettings
from resight.federated.simulate import plain_settings, run_sites
from resight.federated.sites import make_sites, together
from resight.types import silent

EXPERIMENT = EXPERIMENTS / "federated_cxr.toml"
SCENARIOS = {
    "scanners": ["simulation.scanner_shift=1.0"],
    "labels": ["simulation.label_skew=0.5"],
}
STRATEGIES = ("fedavg", "fedprox", "fedbn", "scaffold", "fedadam")
METHODS = ("alone", *STRATEGIES, "pooled")
LABEL = "PNEUMONIA"


def run(scenario: str, seed: int, data: Path, work: Path, until: float) -> None:
    kept = Kept(f"{scenario}-{seed}.json")
    if all(method in kept.results for method in METHODS) or time.monotonic() > until:
        return
    overrides = [f"cohort.path={data}", f"training.seed={seed}", f"split.seed={seed}", *SCENARIOS[scenario]]
    settings = load_experiment(EXPERIMENT, overrides, FederatedSettings)
    prepared = prepare(settings, work / f"store-{seed}", silent)
    sites = make_sites(settings, prepared)
    plain = plain_settings(settings)
    for method in METHODS:
        if method in kept.results or time.monotonic() > until:
            continue
        folder = work / f"{scenario}-{seed}" / method
        if method == "pooled":
            audits = {"all": run_sites(method, plain, {"all": together(sites)}, folder, judged_on=sites, resume=True)}
        elif method == "alone":
            audits = {
                name: run_sites(name, plain, {name: one}, folder / name, judged_on=sites, resume=True)
                for name, one in sites.items()
            }
        else:
            strategy = f"federation.strategy.name={method}"
            chosen = load_experiment(EXPERIMENT, [*overrides, strategy], FederatedSettings)
            audits = {"all": run_sites(method, chosen, sites, folder, resume=True)}
        found = {
            "everyone": float(np.mean([_everyone(one.audit) for one in audits.values()])),
            "sites": {name: _at(audits[name if name in audits else "all"].audit, name) for name in sites},
        }
        kept.keep(**{method: found}, sites={name: _described(one) for name, one in sites.items()})
        print(scenario, seed, method, found, flush=True)


def _everyone(audit: Any) -> float:
    return audit.pooled[0].evaluation.labels[0].metrics["auroc"].value


def _at(audit: Any, site: str) -> float | None:
    return audit.sites[site]["shared"][LABEL]["metrics"]["auroc"]["value"]


def _described(data: Any) -> dict[str, Any]:
    return {
        split: {"images": len(one), "positives": int(np.nansum(one.targets))} for split, one in data.samples.items()
    }


def table() -> None:
    lines = [
        "# Federated training on simulated hospitals",
        "",
        "Test AUROC of pneumonia by `benchmarks/federation.py`, mean over seeds with the 95 % t-interval",
        "over seeds; each seed also draws another split and other sites. *All* are the test images of all sites",
        "together (for sites alone: mean over the sites' networks); *own* is the mean over sites of each on its own",
        "test images, and *worst* the lowest of those, over sites whose test images hold both classes.",
    ]
    for scenario in SCENARIOS:
        runs = [Kept(path.name).results for path in sorted(RESULTS.glob(f"{scenario}-*.json"))]
        runs = [one for one in runs if all(method in one for method in METHODS)]
        if not runs:
            continue
        lines += ["", f"## {scenario} ({len(runs)} seeds)", ""]
        lines += ["| training | all | all, less pooled | own | worst |", "|---|---|---|---|---|"]
        for method in METHODS:
            everyone = [one[method]["everyone"] for one in runs]
            less = [one[method]["everyone"] - one["pooled"]["everyone"] for one in runs]
            known = [[v for v in one[method]["sites"].values() if v is not None] for one in runs]
            columns = (everyone, less, [float(np.mean(v)) for v in known if v], [min(v) for v in known if v])
            lines.append(f"| {method} | " + " | ".join(interval(column) for column in columns) + " |")
    write_table("table.md", lines)


if __name__ == "__main__":
    given = arguments("resight-federation")
    end = time.monotonic() + 60 * given.minutes
    for number in range(given.seeds):
        for name in SCENARIOS:
            run(name, number, given.data.resolve(), given.work, end)
    table()
