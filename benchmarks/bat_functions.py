"""Chaotic bats, plain bats and random search at equal evaluations on ten standard functions.

    python benchmarks/bat_functions.py [--runs 30] [--generations 100] [--dimensions 10]

Writes results/bat_functions.json and .md beside this file: median of the runs, and Mann-Whitney tests of every kind of
bats against random search and against plain bats, corrected over the ten functions after Holm.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from resight.evaluation import holm
from resight.training.bat_search import BatOptions, Objective, minimize, random_search

CHAOTIC = ("1", "2", "3", "4")
RESULTS = Path(__file__).parent / "results"


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)


def ackley(x: np.ndarray) -> np.ndarray:
    far = np.exp(-0.2 * np.sqrt((x**2).mean(axis=1)))
    return 20 + np.e - 20 * far - np.exp(np.cos(2 * np.pi * x).mean(axis=1))


def griewank(x: np.ndarray) -> np.ndarray:
    return 1 + (x**2).sum(axis=1) / 4000 - np.cos(x / np.sqrt(np.arange(1, x.shape[1] + 1))).prod(axis=1)


def levy(x: np.ndarray) -> np.ndarray:
    w = 1 + (x - 1) / 4
    inner = ((w[:, :-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:, :-1] + 1) ** 2)).sum(axis=1)
    return np.sin(np.pi * w[:, 0]) ** 2 + inner + (w[:, -1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[:, -1]) ** 2)


def zakharov(x: np.ndarray) -> np.ndarray:
    slope = (0.5 * np.arange(1, x.shape[1] + 1) * x).sum(axis=1)
    return (x**2).sum(axis=1) + slope**2 + slope**4


def michalewicz(x: np.ndarray) -> np.ndarray:
    return -(np.sin(x) * np.sin(np.arange(1, x.shape[1] + 1) * x**2 / np.pi) ** 20).sum(axis=1)


FUNCTIONS: dict[str, tuple[Objective, float, float]] = {
    "sphere": (lambda x: (x**2).sum(axis=1), -5.12, 5.12),
    "Rosenbrock": (rosenbrock, -5, 10),
    "Rastrigin": (lambda x: (x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum(axis=1), -5.12, 5.12),
    "Ackley": (ackley, -32.768, 32.768),
    "Griewank": (griewank, -600, 600),
    "Schwefel": (lambda x: (418.9829 - x * np.sin(np.sqrt(np.abs(x)))).sum(axis=1), -500, 500),
    "Levy": (levy, -10, 10),
    "Zakharov": (zakharov, -5, 10),
    "Styblinski-Tang": (lambda x: (0.5 * (x**4 - 16 * x**2 + 5 * x) + 39.16617).sum(axis=1), -5, 5),
    "Michalewicz": (michalewicz, 0, np.pi),
}


def run(runs: int, generations: int, dimensions: int) -> dict[str, dict[str, list[float]]]:
    """Best values: method -> function -> one per run."""
    searches = {
        **{f"chaotic {v}": BatOptions(variant=v, generations=generations) for v in CHAOTIC},
        "plain": BatOptions(variant="plain", generations=generations),
    }
    values: dict[str, dict[str, list[float]]] = {name: {} for name in [*searches, "random"]}
    for function, (objective, a, b) in FUNCTIONS.items():
        low, high = np.full(dimensions, a), np.full(dimensions, b)
        for name, options in searches.items():
            values[name][function] = [minimize(objective, low, high, options, seed=s).value for s in range(runs)]
        evaluations = searches["plain"].population * (generations + 1)
        values["random"][function] = [
            random_search(objective, low, high, evaluations=evaluations, seed=1000 + s).value for s in range(runs)
        ]
    return values


def judge(values: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Corrected p-values and wins of every method against random search and against plain bats."""
    verdicts: dict[str, dict[str, dict[str, float]]] = {}
    for name in values:
        for rival in {"random", "plain"} - {name}:
            if name == "random":
                continue
            p = holm([float(mannwhitneyu(values[name][f], values[rival][f]).pvalue) for f in FUNCTIONS])
            better = [np.median(values[name][f]) < np.median(values[rival][f]) for f in FUNCTIONS]
            verdicts.setdefault(name, {})[rival] = {
                "lower_median": int(sum(better)),
                "significantly_better": sum(bool(b and q < 0.05) for b, q in zip(better, p, strict=True)),
                "significantly_worse": sum(bool(not b and q < 0.05) for b, q in zip(better, p, strict=True)),
                **{f"p {f}": q for f, q in zip(FUNCTIONS, p, strict=True)},
            }
    return verdicts


def table(values: dict[str, dict[str, list[float]]], verdicts: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| function | " + " | ".join(values) + " |", "|---|" + "---|" * len(values)]
    for function in FUNCTIONS:
        medians = [f"{np.median(values[name][function]):.4g}" for name in values]
        lines.append(f"| {function} | " + " | ".join(medians) + " |")
    lines += [
        "",
        "| bats | against | lower median | significantly better | significantly worse |",
        "|---|---|---|---|---|",
    ]
    for name, rivals in verdicts.items():
        for rival, v in sorted(rivals.items()):
            lines.append(
                f"| {name} | {rival} | {v['lower_median']} of {len(FUNCTIONS)} | {v['significantly_better']} "
                f"| {v['significantly_worse']} |"
            )
    gains = sum(int(v["plain"]["significantly_better"]) for v in verdicts.values() if "plain" in v)
    asked = len(CHAOTIC) * len(FUNCTIONS)
    lines += ["", f"Chaotic variants significantly better than plain bats: {gains} of {asked} comparisons."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--dimensions", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    start = time.process_time()
    values = run(args.runs, args.generations, args.dimensions)
    verdicts = judge(values)
    evaluations = BatOptions().population * (args.generations + 1)
    setting = {"runs": args.runs, "dimensions": args.dimensions, "evaluations": evaluations}
    heading = (
        f"# Bat search on ten functions\n\nMedian best value of {args.runs} runs, {args.dimensions} dimensions, "
        f"{evaluations} evaluations each (lower is better). `benchmarks/bat_functions.py`, default options, sinusoidal "
        "map. Tests: Mann-Whitney, two-sided, Holm over the ten functions, level 0.05.\n\n"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bat_functions.md").write_text(heading + table(values, verdicts) + "\n", encoding="utf-8")
    report = {"setting": setting, "options": BatOptions().model_dump(), "values": values, "verdicts": verdicts}
    (args.out / "bat_functions.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(heading + table(values, verdicts))
    print(f"\n{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
