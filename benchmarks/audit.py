"""How long an audit of the size of ChestX-ray14's test split takes: 25,596 images, 14 labels, sex, age and view.

    python benchmarks/audit.py

Writes benchmarks/results/audit_speed.json. The predictions are drawn, not learned: time depends on their number alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from resight.cohorts.phantom_cases import CHESTXRAY14_PREVALENCE
from resight.fairness import AuditOptions, audit
from resight.predictions import Predictions


def drawn(images: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = tuple(CHESTXRAY14_PREVALENCE)
    targets = (rng.random((images, len(labels))) < list(CHESTXRAY14_PREVALENCE.values())).astype(float)
    score = 1 / (1 + np.exp(-(rng.normal(size=targets.shape) + 1.2 * targets - 2)))
    table = pd.DataFrame(
        {
            "image": [f"{i:05d}.png" for i in range(images)],
            "patient_id": rng.integers(0, 2797 * images // 25596, images).astype(str),
            "sex": rng.choice(["F", "M"], images),
            "age": rng.integers(5, 95, images),
            "view": rng.choice(["AP", "PA"], images),
        }
    )
    return Predictions.from_arrays(table, labels, "multilabel", score=score, target=targets)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=25_596)
    parser.add_argument("--bootstrap", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "audit_speed.json")
    given = parser.parse_args()
    predictions = drawn(given.images, 0)
    options = AuditOptions(by=("sex", "age", "view"), bootstrap=given.bootstrap)
    began, cpu = time.perf_counter(), time.process_time()
    found = audit(predictions, options)
    result = {
        "images": given.images,
        "labels": len(predictions.labels),
        "groups": len({(g.attribute, g.group) for g in found.groups}),
        "bootstrap": given.bootstrap,
        "tests": found.tests,
        "differences_found": len(found.found),
        "wall_s": round(time.perf_counter() - began, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
