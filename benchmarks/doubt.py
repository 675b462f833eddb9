"""Sets and selective answers on predictions tables: is the promise kept, and are the surest answers the best?

    python benchmarks/doubt.py pneumonia=benchmarks/results/cxr_pneumonia/predictions.csv \\
        view=benchmarks/results/cxr_view/predictions.csv --out benchmarks/results/doubt

Thresholds of the sets are chosen on the validation rows of each table and judged on its test rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resight.evaluation import ConformalOptions, EvaluationOptions, fit_conformal, judge_uncertainty
from resight.predictions import Predictions
from resight.settings import write_json

COVERAGES = (0.9, 0.95)


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
    for word in given.tables:
        name, _, path = word.partition("=")
        table = Predictions.read(Path(path))
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
    (given.out / "doubt.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_json(given.out / "doubt.json", everything)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
