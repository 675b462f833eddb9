"""Sets and selective answers on predictions tables: is the promise kept, and are the surest answers the best?

    python benchmarks/doubt.py pneumonia=benchmarks/results/cxr_pneumonia/predictions.csv \\
        view=benchmarks/results/cxr_view/predictions.csv nih=benchmarks/results/fairness/nih_predictions.csv.gz \\
        isic=benchmarks/results/fairness/isic_predictions.csv.gz --out benchmarks/results/doubt

Thresholds of the sets are chosen on the validation rows of each table and judged on its test rows; tables without
validation rows are asked for selective answers alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resight.evaluation import ConformalOptions, EvaluationOptions, fit_conformal, judge_uncertainty
from resight.predictions import Predictions
from resight.settings import write_json

COVERAGES = (0.9, 0.95)
ANSWERED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


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
        "| predictions | " + " | ".join(f"surest {share:.0%}" for share in ANSWERED) + " | falls all the way |",
        "| --- |" + " --- |" * (len(ANSWERED) + 1),
    ]
    for word in given.tables:
        name, _, path = word.partition("=")
        table = Predictions.read(Path(path))
        splits = set(table.table["split"]) if "split" in table.table else set()
        judged = table.part(split="test") if "test" in splits else table
        alone = judge_uncertainty(judged, None, EvaluationOptions(seed=given.seed))
        for label, curve in alone.selective.items():
            risks = [curve.at[share].value for share in ANSWERED]
            falls = "yes" if risks == sorted(risks, reverse=True) else "no"
            values = [f"{curve.at[share].value:.3f}" for share in ANSWERED[1:-1]]
            surest.append(f"| {name}: {label} | {curve.at[1.0]} | {' | '.join(values)} | {curve.at[0.5]} | {falls} |")
        everything[f"{name}, selective"] = alone.to_dict()
        if "validation" not in splits:
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
    for name, lines in (("doubt", rows), ("selective", surest)):
        (given.out / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(given.out / "doubt.json", everything)
    print("\n".join([*rows, "", *surest]))


if __name__ == "__main__":
    main()
