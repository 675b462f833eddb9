"""Sets and selective answers on predictions tables: is the promise kept, and are the surest answers the best?

    python benchmarks/doubt.py pneumonia=benchmarks/results/cxr_pneumonia/predictions.csv \\
        view=benchmarks/results/cxr_view/predictions.csv nih=benchmarks/results/fairness/nih_predictions.csv.gz \\
        isic=benchmarks/results/fairness/isic_predictions.csv.gz --out benchmarks/results/doubt

Thresholds of the sets are chosen on the validation rows of each table and judged on its test rows. Tables without
validation rows, whose every row was predicted by networks that had not seen the patient, are cut into random halves of
patients: thresholds for everybody and thresholds by group are chosen on one and judged within groups on the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from resight.evaluation import (
    ConformalOptions,
    EvaluationOptions,
    GroupRule,
    RiskCoverage,
    fit_conformal,
    judge_uncertainty,
    patient_index,
)
from resight.evaluation.rows import hard_mask
from resight.predictions import Predictions
from resight.settings import plain, write_json
from resight.types import MetricValue

COVERAGES = (0.9, 0.95)
ANSWERED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
HALVES = 200
BY = {"sex": {}, "age": {"age": (40.0, 60.0)}}
"""Attributes that groups are made of, with the edges of those that are numbers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", help="NAME=PREDICTIONS")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = [
        "| predictions | promised | held the truth | if present | if absent | answers left | wrong | surest half |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    everything: dict[str, Any] = {}
    surest = [
        "| predictions | "
        + " | ".join(f"surest {share:.0%}" for share in ANSWERED)
        + " | all less surest half | largest rise of a step | falls |",
        "| --- |" + " --- |" * (len(ANSWERED) + 3),
    ]
    groups = [
        "| predictions | group | images | one threshold held the truth | answers left | its own held it | left |",
        "| --- |" + " --- |" * 6,
    ]
    for word in given.tables:
        name, _, path = word.partition("=")
        table = Predictions.read(Path(path))
        splits = set(table.table["split"]) if "split" in table.table else set()
        judged = table.part(split="test") if "test" in splits else table
        alone = judge_uncertainty(judged, None, EvaluationOptions(seed=given.seed))
        for label, curve in alone.selective.items():
            values = [f"{curve.at[share].value:.3f}" for share in ANSWERED[1:-1]]
            rise = max(curve.rises.values(), key=lambda one: one.value)
            cells = (f"{name}: {label}", curve.at[1.0], *values, curve.at[0.5], curve.gain, rise, _falls(curve))
            surest.append("| " + " | ".join(map(str, cells)) + " |")
        everything[f"{name}, selective"] = alone.to_dict()
        if "validation" not in splits:
            for attribute in BY:
                found = by_group(table, attribute, given.seed)
                everything[f"{name}, by {attribute}"] = plain(found)
                groups += [
                    f"| {name} | {attribute} {group} | {' | '.join(str(value) for value in one.values())} |"
                    for group, one in found.items()
                ]
            continue
        validation, test = table.part(split="validation"), table.part(split="test")
        for coverage in COVERAGES:
            conformal = fit_conformal(
                validation.probabilities(),
                validation.targets(),
                validation.mask(),
                table.task,
                ConformalOptions(coverage=coverage),
                patients=validation.groups(),
            )
            found = judge_uncertainty(test, conformal, EvaluationOptions(seed=given.seed))
            assert found.sets is not None
            everything[f"{name}, {coverage:g}"] = found.to_dict()
            for label, held in found.sets.coverage.items():
                curve = found.selective[label]
                sides = [str(found.sets.by_class.get(f"{label}, {side}", "")) for side in ("present", "absent")]
                left, wrong = f"{found.sets.size[label]:.2f}", (curve.at[1.0], curve.at[0.5])
                cells = (f"{name}: {label}", f"{coverage:.0%}", held, *sides, left, *wrong)
                rows.append("| " + " | ".join(map(str, cells)) + " |")
    for name, lines in (("doubt", rows), ("selective", surest), ("groups", groups)):
        (given.out / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(given.out / "doubt.json", everything)
    print("\n".join([*rows, "", *surest, "", *groups]))


def by_group(table: Predictions, attribute: str, seed: int) -> dict[str, dict[str, Any]]:
    """What sets by class did within groups of patients, over random halves.

    Args:
        table: rows that nobody has chosen anything on.
        attribute: whose groups.
        seed: of the halves.

    Returns:
        By group the number of its images, and with one threshold for all and with its own (`own_...`) the share of
        answers that held the truth and the mean number of answers left, every patient weighing the same: the mean over
        the halves, and between which values 95 % of them lie.
    """
    probabilities, targets, images = table.probabilities(), table.targets(), table.images()
    usable = hard_mask(table)
    patients, count = patient_index(table.groups())
    asked = {"": ConformalOptions(), "own_": ConformalOptions(group=attribute, edges=BY[attribute])}
    member = GroupRule.fit(images, attribute, BY[attribute]).names(images)
    drawn: dict[str, dict[str, list[float]]] = {str(group): {} for group in np.unique(member) if group}
    rng = np.random.default_rng(seed)
    for _ in range(HALVES):
        first = (rng.permutation(count) < count // 2)[patients]
        for kind, options in asked.items():
            conformal = fit_conformal(
                probabilities[first],
                targets[first],
                usable[first],
                table.task,
                options,
                patients=patients[first],
                images=images[first],
            )
            sets = conformal.members(probabilities, conformal.groups_of(images))
            held = np.take_along_axis(sets, (targets > 0).astype(int)[:, :, None], axis=2)[:, :, 0]
            for group, lists in drawn.items():
                rows = ~first & (member == group)
                weights = usable[rows] / np.bincount(patients[rows], usable[rows].sum(axis=1))[patients[rows], None]
                for what, values in (("held", held[rows]), ("left", sets[rows].sum(axis=2))):
                    lists.setdefault(f"{kind}{what}", []).append(float((values * weights).sum() / weights.sum()))
    return {
        group: {"images": int((member == group).sum())} | {what: _over_halves(values) for what, values in lists.items()}
        for group, lists in drawn.items()
    }


def _over_halves(values: list[float]) -> MetricValue:
    low, high = np.quantile(values, [0.025, 0.975])
    return MetricValue(float(np.mean(values)), float(low), float(high), len(values), interval="95 % of random halves")


def _falls(curve: RiskCoverage) -> str:
    if all(rise.value <= 0 for rise in curve.rises.values()):
        return "all the way"
    return "no" if curve.misleads else "within chance"


if __name__ == "__main__":
    main()
