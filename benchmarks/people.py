"""People and model on real predictions: who should read, and would urgent reports come sooner?

Readers are simulated: their opinions are drawn, while images, predictions and reference standard are real. The figures
say what a policy could do with such readers, not what radiologists do.

    python benchmarks/people.py benchmarks/results/cxr_pneumonia/predictions.csv --out benchmarks/results/people
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from resight.predictions import Predictions
from resight.settings import write_json
from resight.teaming import (
    Readings,
    TeamResult,
    WorklistOptions,
    build_policy,
    evaluate_team,
    label_cases,
    simulate_worklist,
    studies,
)

SENSITIVITY, SPECIFICITY, READERS = 0.90, 0.90, 4
POLICIES = (("learned", {}), ("learned", {"goal": "workload"}), ("band", {}), ("second_reader", {}))


def simulated_readings(predictions: Predictions, seed: int) -> Readings:
    """Opinions that are right with fixed chances, independent of the model given the reference standard."""
    rng = np.random.default_rng(seed)
    target = predictions.targets()[:, 0]
    names = predictions.images()["image"]
    parts = []
    for reader in range(READERS):
        right = rng.random(len(target)) < np.where(target > 0, SENSITIVITY, SPECIFICITY)
        decision = np.where(right, target, 1 - target)
        parts.append(pd.DataFrame({"image": names, "reader": f"simulated {reader + 1}", "decision": decision}))
    return Readings.from_table(pd.concat(parts), only_label=predictions.labels[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    predictions = Predictions.read(given.predictions)
    label = predictions.labels[0]
    readings = simulated_readings(predictions, given.seed)
    tuning, test = (
        label_cases(readings.with_reference(predictions.part(split=split)), label, "unaided")
        for split in ("validation", "test")
    )
    teams: list[TeamResult] = []
    for name, options in POLICIES:
        teams.append(evaluate_team(build_policy(name, **options), name, tuning, test, label, seed=given.seed))
    room = WorklistOptions(prevalence=0.1, arrivals_per_h=13.5, repetitions=50, seed=given.seed)
    worklist = simulate_worklist(studies(predictions.part(split="test"), label), room)
    rows = [
        "| policy | who | sensitivity | specificity | readings an image |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (name, options), team in zip(POLICIES, teams, strict=True):
        title = " ".join([name, *map(str, options.values())])
        for who in ("model", "readers", "team"):
            rates = team.rates[who]
            work = {"model": "0", "readers": "1", "team": str(team.readings)}[who]
            rows.append(f"| {title} | {who} | {rates['sensitivity']} | {rates['specificity']} | {work} |")
    rows += ["", "| order | urgent, min | urgent but not flagged, min | others, min |", "| --- | --- | --- | --- |"]
    for one in worklist.waiting:
        rows.append(f"| {one.order} | {one.urgent_min} | {one.missed_urgent_min} | {one.other_min} |")
    (given.out / "people.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_json(given.out / "people.json", {"teams": teams, "worklist": worklist, "room": room.model_dump()})
    print("\n".join(rows))


if __name__ == "__main__":
    main()
