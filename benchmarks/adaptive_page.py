"""The page of `benchmarks/adaptive.py`: means over seeds, every seed, who leaves where, and what is really called."""

from collections import defaultdict
from typing import Any

import numpy as np

from resight.evaluation.resampled import corrected_resampled_t_test

Run = dict[str, Any]


def page(words: str, runs: dict[str, Run], budgets: tuple[float, ...]) -> str:
    """Markdown.

    Args:
        words: how the runs were made.
        runs: by `cohort/network/seed`; not every network needs every seed.
        budgets: shares of the FLOPs.
    """
    lines = ["# Less work per image", "", " ".join(words.split()), ""]
    for cohort in dict.fromkeys(key.split("/")[0] for key in sorted(runs)):
        of: dict[str, dict[int, Run]] = defaultdict(dict)
        for key, run in sorted(runs.items()):
            name, model, seed = key.split("/")
            if name == cohort:
                of[model][int(seed)] = run
        plain = of.pop("plain")
        counts = plain[0]["images"]
        lines += [
            f"## {cohort}: {counts['train']} images to learn from, {counts['validation']} to fit limits, "
            f"{counts['test']} judged",
            "",
            f"The plain network, seeds {', '.join(map(str, plain))}: AUROC "
            f"{_values([run['auroc'] for run in plain.values()])}.",
            "",
            "| network | seeds | whole less plain | budget | FLOPs | AUROC | less plain | less itself | faster |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_mean_row(model, found, plain, b) for model, found in of.items() for b in budgets if _has(found, b)]
        lines += [
            "",
            "Means over seeds, below them every seed; intervals over seeds: corrected t-test for repeated splits "
            "(Nadeau and Bengio 2003).",
            "",
            "| network | budget | seed | FLOPs | AUROC | less plain, 95 % | less itself, 95 % | plain, ms | ms "
            "| groups that fall | named when used |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for model, found in of.items():
            lines += [_row(model, b, seed, run) for b in budgets if _has(found, b) for seed, run in found.items()]
        lines += ["", *_who_leaves(of, budgets[0]), *_called(of, budgets[0])]
    return "\n".join(lines)


def _has(runs: dict[int, Run], budget: float) -> bool:
    return all(str(budget) in run["budgets"] for run in runs.values())


def _mean_row(model: str, runs: dict[int, Run], plain: dict[int, Run], budget: float) -> str:
    seeds = ", ".join(map(str, runs))
    whole = np.mean([run["auroc"] - plain[seed]["auroc"] for seed, run in runs.items()])
    points = [run["budgets"][str(budget)] for run in runs.values()]
    if any("none" in point for point in points):
        return f"| {model} | {seeds} | {whole:+.4f} | {budget} | nothing within it for every seed | | | | |"
    counts = plain[0]["images"]
    values = np.array([point["auroc"] for point in points])
    before = np.array([plain[seed]["auroc"] for seed in runs])
    less = _values(values - before, sign="+")
    if len(runs) > 1:
        learned = counts["train"] + counts["validation"]
        test = corrected_resampled_t_test(values, before, n_train=learned, n_test=counts["test"])
        less = f"{test.difference:+.4f} ({test.low:+.4f} to {test.high:+.4f}); {less}"
    itself = np.mean([point["less itself"]["value"] for point in points])
    gain = [point["time"]["gain"] for point in points]
    share = np.mean([point["share"] for point in points])
    return (
        f"| {model} | {seeds} | {whole:+.4f} | {budget} | {share:.2f} | {values.mean():.4f} | {less} | {itself:+.4f} "
        f"| {_values(gain, digits=2)} |"
    )


def _row(model: str, budget: float, seed: int, run: Run) -> str:
    point = run["budgets"][str(budget)]
    if "none" in point:
        return f"| {model} | {budget} | {seed} | {point['none']} | | | | | | | |"
    took = point["time"]
    return (
        f"| {model} | {budget} | {seed} | {point['share']:.2f} | {point['auroc']:.4f} | {_gap(point['less plain'])} "
        f"| {_gap(point['less itself'])} | {took['plain ms']:.2f} | {took['ms']:.2f} "
        f"| {len(point['groups that fall'])} of {point['groups']} | {len(point['named when used'])} |"
    )


def _who_leaves(of: dict[str, dict[int, Run]], budget: float) -> list[str]:
    lines = [f"Where images leave at a budget of {budget} (seed 0), and the whole network's Brier score there:", ""]
    lines += ["| network | left at | images | Brier |", "|---|---|---|---|"]
    for model, found in of.items():
        for row in found[0]["budgets"].get(str(budget), {}).get("exits", []):
            brier = row["brier"]["value"]
            lines.append(f"| {model} | {row['name']} | {row['images']} | {'' if brier is None else f'{brier:.4f}'} |")
    return [*lines, ""]


def _called(of: dict[str, dict[int, Run]], budget: float) -> list[str]:
    lines = [f"How often each part is computed for 64 test images, one by one (seed 0): whole, and at {budget}.", ""]
    lines += ["| part | " + " | ".join(of) + " |", "|---" * (1 + len(of)) + "|"]
    runs = [found[0] for found in of.values()]
    ways = [(run["calls"]["whole"], run["budgets"].get(str(budget), {}).get("calls", {})) for run in runs]
    for part in dict.fromkeys(name for whole, _ in ways for name in whole):
        cells = [f"{whole[part]}, {within.get(part, '')}" if part in whole else "" for whole, within in ways]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _gap(value: dict[str, float | None]) -> str:
    if value["low"] is None:  # the same answers
        return f"{value['value'] or 0:+.4f}"
    return f"{value['value']:+.4f} ({value['low']:+.4f} to {value['high']:+.4f})"


def _values(values: Any, *, digits: int = 4, sign: str = "") -> str:
    each = ", ".join(f"{value:{sign}.{digits}f}" for value in values)
    return f"{np.mean(values):{sign}.{digits}f} ({each})" if not sign else each
