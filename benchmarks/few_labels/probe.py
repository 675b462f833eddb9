"""Does pretraining without labels start a network better than chance? A linear probe on held-out patients.

    resight pretrain benchmarks/few_labels/pretrain.toml --out runs/pretrained0
    python benchmarks/few_labels/probe.py runs/pretrained0 --store runs/store

Features of frozen backbones, standardised on the training patients; logistic regression whose penalty is chosen on the
validation patients; AUROC on the test patients. The network that nothing taught has the same first weights, and its
normalisation is measured on the training images, without which its features would be of no use. Writes probe.json.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression

from resight.backbones import load_weights
from resight.evaluation import auroc
from resight.experiments import ExperimentSettings
from resight.experiments.members import new_classifier
from resight.experiments.prepare import Prepared, prepare
from resight.models import Classifier
from resight.settings import load_toml, write_json
from resight.types import silent

RESULTS = Path(__file__).parents[1] / "results" / "few_labels"
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
REPLICATES = 2000


def features(model: Classifier, prepared: Prepared) -> np.ndarray:
    """Of all images of the cohort, in evaluation mode."""
    images = torch.from_numpy(np.stack([np.array(prepared.store[int(row)]) for row in prepared.rows]))
    with torch.inference_mode():
        return np.concatenate([model.features(part).float().numpy() for part in images.split(64)])


def measure_normalisation(model: Classifier, prepared: Prepared) -> None:
    """Running statistics of every normalisation layer: the mean over the training images."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    rows = prepared.rows[prepared.in_split("train")]
    model.train()
    with torch.no_grad():
        for part in torch.from_numpy(np.stack([np.array(prepared.store[int(row)]) for row in rows])).split(64):
            model.features(part)
    model.eval()


def probe(found: np.ndarray, target: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Scores of all images by the regression that is best on validation."""
    train, validation = (prepared.in_split(split) & (target >= 0) for split in ("train", "validation"))
    scaled = (found - found[train].mean(axis=0)) / np.maximum(found[train].std(axis=0), 1e-6)
    fits = [
        LogisticRegression(C=c, max_iter=2000).fit(scaled[train], target[train]).decision_function(scaled)
        for c in PENALTIES
    ]
    return max(fits, key=lambda scores: auroc(target[validation].astype(float), scores[validation]).value)


def intervals(target: np.ndarray, scores: dict[str, list[np.ndarray]], patients: np.ndarray) -> dict[str, object]:
    """Mean AUROC over seeds and its difference, patients drawn with replacement."""
    rng = np.random.default_rng(0)
    names, owner = np.unique(patients, return_inverse=True)
    rows_of = [np.flatnonzero(owner == number) for number in range(len(names))]
    draws = [np.arange(len(target))]
    draws += [
        np.concatenate([rows_of[n] for n in rng.integers(len(names), size=len(names))]) for _ in range(REPLICATES)
    ]
    values = {
        name: np.array([[auroc(target[rows], one[rows]).value for one in each] for rows in draws]).mean(axis=1)
        for name, each in scores.items()
    }
    values["difference"] = values["pretrained"] - values["untaught"]
    found: dict[str, object] = {
        name: {"value": each[0], "low": np.nanquantile(each[1:], 0.025), "high": np.nanquantile(each[1:], 0.975)}
        for name, each in values.items()
    }
    found["each seed"] = {name: [auroc(target, one).value for one in each] for name, each in scores.items()}
    return found | {"images": len(target), "patients": len(names), "positives": int(target.sum())}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=RESULTS / "probe.json")
    parser.add_argument("--store", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    for run in given.runs:
        settings = load_toml(run / "settings.toml", ExperimentSettings)
        prepared = prepare(settings, given.store, silent)
        table = prepared.cohort.table
        tasks = {settings.cohort.positive or "": (table[prepared.cohort.labels[0]] > 0).astype(int).to_numpy()}
        if "subtype" in table.columns:
            tasks["virus against bacteria"] = table["subtype"].map({"bacteria": 0, "virus": 1}).fillna(-1).to_numpy(int)
        untaught = new_classifier(settings, prepared, settings.training.seed)
        pretrained = copy.deepcopy(untaught).eval()
        load_weights(pretrained.backbone, run / "backbone.safetensors")
        measure_normalisation(untaught, prepared)
        test = prepared.in_split("test")
        for name, model in (("untaught", untaught), ("pretrained", pretrained)):
            found = features(model, prepared)
            for task, target in tasks.items():
                rows = test & (target >= 0)
                scores.setdefault(task, {}).setdefault(name, []).append(probe(found, target, prepared)[rows])
    results: dict[str, object] = {}
    for task, each in scores.items():
        rows = test & (tasks[task] >= 0)
        results[task] = intervals(
            tasks[task][rows].astype(float), each, pd.Series(table["patient_id"])[rows].to_numpy()
        )
    write_json(given.out, results)
    print(results)


if __name__ == "__main__":
    main()
