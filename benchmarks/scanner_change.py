"""How soon `resight monitor` catches a change of scanner, and how often it cries wolf without one.

    python benchmarks/scanner_change.py

A small network learns three findings on phantom radiographs of one site. Of other images of that site, one a patient,
some make the reference and others follow; after 100 of them come those of another site, whose scanner has a film curve,
a sharpness and a noise of its own. Streams are drawn anew from one pool of images, and each is watched twice: with the
network's features, as after `resight predict --novelty`, and by scores, tones and attributes alone. Writes
benchmarks/results/scanner_change.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from drift_streams import arguments, summary

import resight
from resight.cohorts import PhantomOptions, write_phantom
from resight.experiments import ExperimentSettings, train_experiment
from resight.models import Predictor
from resight.monitoring import MonitorOptions, fit_reference, monitor
from resight.predictions import FEATURE, NOVELTY, Predictions
from resight.settings import validate, write_json

ROOT = Path(__file__).parents[1]
FINDINGS = ("Effusion", "Mass", "Pneumothorax")
LEARNT, POOL, SIZE_PX = 1600, 2400, 64
QUIET, REFERENCE, LONGEST = 100, 300, 200


def trained(scratch: Path) -> Predictor:
    """A network that learnt from site A alone, with what its bundle knows of features."""
    if not (scratch / "cohort.csv").exists():
        options = PhantomOptions(
            images=LEARNT + POOL, size_px=SIZE_PX, sites=2, images_per_patient=1, findings=FINDINGS, prevalence=0.3
        )
        write_phantom(options, scratch)
    if not (scratch / "run" / "report.html").exists():
        rows = pd.read_csv(scratch / "cohort.csv").head(LEARNT)
        rows.loc[rows["site"] == "A"].to_csv(scratch / "ours.csv", index=False)
        settings = {
            "cohort": {"path": str(scratch / "ours.csv"), "labels": FINDINGS},
            "recipe": {"size_px": [SIZE_PX, SIZE_PX], "channels": 1},
            "model": {"backbone": {"name": "resnet", "depth": 10, "width": 16, "stem": "cifar"}},
            "training": {"epochs": 8, "learning_rate": 4e-3, "precision": "bf16", "threads": 1, "device": "cpu"},
        }
        train_experiment(validate(ExperimentSettings, settings, where=__file__), scratch / "run", resume=True)
    return resight.load(scratch / "run" / "bundle")


def rows(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    n_labels = len(predictions.labels)
    index = (chosen[:, None] * n_labels + np.arange(n_labels)).ravel()
    return replace(predictions, table=predictions.table.iloc[index].reset_index(drop=True))


def without_features(predictions: Predictions) -> Predictions:
    features = [c for c in predictions.table.columns if c == NOVELTY or c.startswith(FEATURE)]
    return replace(predictions, table=predictions.table.drop(columns=features))


def main() -> None:
    parser = arguments("scanner_change", __doc__)
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs" / "scanner_change", help="images and the run")
    given = parser.parse_args()
    predictor = trained(given.scratch)
    pool = pd.read_csv(given.scratch / "cohort.csv").tail(POOL)
    found = predictor.predict([given.scratch / name for name in pool["image"]], novelty=True)
    predictions = replace(found, table=found.table.drop(columns="error").assign(patient_id=found.table["image"]))
    site = pool["site"].to_numpy()
    ours, other = np.flatnonzero(site == "A"), np.flatnonzero(site == "B")
    options = MonitorOptions(alpha=given.alpha)
    result: dict[str, object] = {
        "alpha": given.alpha,
        "reference_cases": REFERENCE,
        "cases_before_the_change": QUIET,
        "cases_watched_without_change": QUIET + LONGEST,
    }
    for name, table in (("with_features", predictions), ("without_features", without_features(predictions))):
        changed, unchanged = [], []
        whole = {"changed": 0, "unchanged": 0}
        for stream in range(given.streams):
            rng = np.random.default_rng(stream)
            drawn = rng.permutation(ours)
            reference = fit_reference(rows(table, drawn[:REFERENCE]), seed=stream)
            after = np.concatenate([drawn[REFERENCE : REFERENCE + QUIET], rng.permutation(other)[:LONGEST]])
            same = drawn[REFERENCE : REFERENCE + QUIET + LONGEST]
            for kind, cases, alarms in (("changed", after, changed), ("unchanged", same, unchanged)):
                watched = monitor(reference, [rows(table, cases)], options)
                alarms.append(watched.alarm.case)
                whole[kind] += any(drift.drifted for drift in watched.drifts)
        result[name] = {
            **summary(changed, unchanged, quiet=QUIET, unit="cases"),
            "one_look_at_all_cases": {
                "finds_drift_after_the_change": whole["changed"],
                "false_alarms": whole["unchanged"],
            },
        }
        print(name, result[name], flush=True)
    write_json(given.out, result)


if __name__ == "__main__":
    main()
