"""How soon `resight monitor` catches a change of scanner, and how often it cries wolf without one.

    python benchmarks/scanner_change.py

Phantom radiographs of one site make the reference; cases of the same site follow, and after 100 of them those of
another site, whose scanner has a film curve, a sharpness and a noise of its own. Streams are drawn anew from one pool
of drawn images, one image a patient. Scores are those of the small network in tests/golden, which was not trained: they
stand for any function of the image. Writes benchmarks/results/scanner_change.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from resight.cohorts import PhantomOptions
from resight.cohorts.phantom import render
from resight.models import Predictor
from resight.monitoring import MonitorOptions, fit_reference, monitor
from resight.predictions import Predictions

ROOT = Path(__file__).parents[1]
QUIET, REFERENCE, LONGEST = 100, 300, 200


def pool(images: int, seed: int) -> tuple[Predictions, np.ndarray]:
    """Predictions of drawn images, and the site of each."""
    predictor = Predictor.load(ROOT / "tests" / "golden" / "bundle_v1", device="cpu")
    options = PhantomOptions(images=images, size_px=64, seed=seed, sites=2, images_per_patient=1)
    drawn = [render(options, index) for index in range(images)]
    shape = (predictor.manifest.channels, 1, 1)
    predictions = predictor.predict([np.tile(one.pixels[None], shape) for one in drawn])
    site = np.array([one.row["site"] for one in drawn])
    table = predictions.table.drop(columns="error")
    table["patient_id"] = table["image"]
    return replace(predictions, table=table), site


def rows(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    n_labels = len(predictions.labels)
    index = (chosen[:, None] * n_labels + np.arange(n_labels)).ravel()
    return replace(predictions, table=predictions.table.iloc[index].reset_index(drop=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scanner_change.json")
    given = parser.parse_args()
    predictions, site = pool(given.images, 0)
    ours, other = np.flatnonzero(site == "A"), np.flatnonzero(site == "B")
    options = MonitorOptions(alpha=given.alpha)
    delays, early, false_alarms = [], 0, 0
    for stream in range(given.streams):
        rng = np.random.default_rng(stream)
        drawn = rng.permutation(ours)
        reference = fit_reference(rows(predictions, drawn[:REFERENCE]), seed=stream)
        quiet = drawn[REFERENCE : REFERENCE + QUIET]
        after = rng.permutation(other)[:LONGEST]
        case = monitor(reference, [rows(predictions, np.concatenate([quiet, after]))], options).alarm.case
        early += case is not None and case <= QUIET
        delays.append(np.nan if case is None else case - QUIET)
        unchanged = drawn[REFERENCE : REFERENCE + QUIET + LONGEST]
        false_alarms += monitor(reference, [rows(predictions, unchanged)], options).alarm.case is not None
    known = pd.Series(delays)[pd.Series(delays) > 0]
    result = {
        "streams": given.streams,
        "alpha": given.alpha,
        "reference_cases": REFERENCE,
        "cases_before_the_change": QUIET,
        "false_alarms_without_change": false_alarms,
        "cases_watched_without_change": QUIET + LONGEST,
        "alarms_before_the_change": early,
        "caught": len(known),
        "cases_until_caught": {f"p{q}": float(known.quantile(q / 100)) for q in (50, 90, 100)},
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
