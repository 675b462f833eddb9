"""Strategies beside pooled training and each site alone, on simulated hospitals with planted differences.

    python benchmarks/federation.py [--seeds 3] [--minutes 8] [--data ../shared/data/cxr_pneumonia_kermany]

Scenarios: `scanners` (grey values of sites moved apart), `labels` (Dirichlet label skew, alpha 0.5). Every method is a
run of its own that goes on where it was interrupted; one that is finished is not run again, so that a study longer than
the minutes given is made by running this again. Writes results/federation/SCENARIO-SEED.json and table.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from resight.experiments import load_experiment
from resight.experiments.prepare import prepare
from resight.federated import FederatedSettings
from resight.federated.simulate import plain_settings, run_sites
from resight.federated.sites import make_sites, together
from resight.types import silent

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "federation"
SCENARIOS = {
    "scanners": ["simulation.scanner_shift=1.0"],
    "labels": ["simulation.label_skew=0.5"],
}
STRATEGIES = ("fedavg", "fedprox", "fedbn", "scaffold", "fedadam")
METHODS = ("alone", *STRATEGIES, "pooled")
LABEL = "PNEUMONIA"


def run(scenario: str, seed: int, data: Path, work: Path, until: float) -> None:
    target = RESULTS / f"{scenario}-{seed}.json"
    done: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    overrides = [f"cohort.path={data}", f"training.seed={seed}", f"split.seed={seed}", *SCENARIOS[scenario]]
    settings = load_experiment(HERE / "experiments" / "federated_cxr.toml", overrides, FederatedSettings)
    prepared = prepare(settings, work / f"store-{seed}", silent)
    sites = make_sites(settings, prepared)
    plain = plain_settings(settings)
    for method in METHODS:
        if method in done or time.monotonic() > until:
            continue
        began = time.process_time()
        folder = work / f"{scenario}-{seed}" / method
        if method == "pooled":
            out = run_sites(method, plain, {"all": together(sites)}, folder, judged_on=sites, resume=True)
            found = _site_aurocs(out.audit)
        elif method == "alone":
            found = {}
            for name, one in sites.items():
                out = run_sites(name, plain, {name: one}, folder / name, resume=True)
                found |= _site_aurocs(out.audit)
        else:
            chosen = load_experiment(
                HERE / "experiments" / "federated_cxr.toml",
                [*overrides, f"federation.strategy.name={method}"],
                FederatedSettings,
            )
            found = _site_aurocs(run_sites(method, chosen, sites, folder, resume=True).audit)
        done[method] = {"auroc": found, "cpu_s": round(time.process_time() - began, 1)}
        done["sites"] = {name: _described(one) for name, one in sites.items()}
        RESULTS.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        print(method, found, done[method]["cpu_s"], flush=True)


def _site_aurocs(audit: Any) -> dict[str, Any]:
    return {name: facts["shared"][LABEL]["metrics"]["auroc"]["value"] for name, facts in audit.sites.items()}


def _described(data: Any) -> dict[str, Any]:
    return {
        split: {"images": len(one), "positives": int(np.nansum(one.targets))} for split, one in data.samples.items()
    }


def table() -> None:
    lines = [
        "# Federated training on simulated hospitals",
        "",
        "Test AUROC of pneumonia, mean over the sites' own test images, and at the worst site: mean over seeds with",
        "the 95 % t-interval over seeds. Made by `benchmarks/federation.py`; each seed also draws another split and",
        "other sites. Intervals of two degrees of freedom are wide, and say so.",
    ]
    for scenario in SCENARIOS:
        runs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{scenario}-*.json"))]
        runs = [one for one in runs if all(method in one for method in METHODS)]
        if not runs:
            continue
        lines += [
            "",
            f"## {scenario} ({len(runs)} seeds)",
            "",
            "| training | mean of sites | worst site | less pooled |",
        ]
        lines += ["|---|---|---|---|"]
        for method in METHODS:
            means, worst, less = [], [], []
            for one in runs:
                values = [v for v in one[method]["auroc"].values() if v is not None]
                pooled = [v for v in one["pooled"]["auroc"].values() if v is not None]
                means.append(np.mean(values))
                worst.append(np.min(values))
                less.append(np.mean(values) - np.mean(pooled))
            lines.append(f"| {method} | {_interval(means)} | {_interval(worst)} | {_interval(less)} |")
    (RESULTS / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _interval(values: list[float]) -> str:
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cxr_pneumonia_kermany"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "resight-federation")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    for number in range(given.seeds):
        for name in SCENARIOS:
            run(name, number, given.data.resolve(), given.work, end)
    table()
