"""Does pretraining without labels start a network better than chance? A linear probe on held-out patients.

    resight pretrain benchmarks/few_labels/pretrain.toml --out runs/pretrained0
    python benchmarks/few_labels/probe.py runs/pretrained0 --store runs/store

Features of frozen backbones, standardised on the training patients; logistic regressions whose penalties are chosen on
the validation patients; AUROC on the test patients, the mean over labels with 10 positive patients or more both among
those and among the training patients. The network that nothing taught has the same first weights; its normalisation is
measured on the training images, without which its features would be of no use. Several runs are several seeds: values
are means over them, and intervals draw patients.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from resight.backbones import load_weights
from resight.evaluation import auroc, mean_auroc
from resight.experiments import ExperimentSettings
from resight.experiments.members import new_classifier
from resight.experiments.prepare import Prepared, prepare
from resight.models import Classifier
from resight.settings import load_toml, write_json
from resight.types import silent

RESULTS = Path(__file__).parents[1] / "results" / "few_labels"
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
REPLICATES = 2000
LEAST_PATIENTS = 10


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


def probe(found: np.ndarray, targets: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Scores `(N, K)` of all images by the regressions that are best on validation; targets below 0 are unknown."""
    scores = []
    for target in targets.T:
        train, validation = (prepared.in_split(split) & (target >= 0) for split in ("train", "validation"))
        scaled = (found - found[train].mean(axis=0)) / np.maximum(found[train].std(axis=0), 1e-6)
        fits = [
            LogisticRegression(C=c, max_iter=2000).fit(scaled[train], target[train]).decision_function(scaled)
            for c in PENALTIES
        ]
        scores.append(max(fits, key=lambda one: auroc(target[validation], one[validation]).value))
    return np.stack(scores, axis=1)


def tasks_of(prepared: Prepared) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Names of labels and targets `(N, K)` of every question that the features are asked."""
    cohort, table = prepared.cohort, prepared.cohort.table
    patients = table["patient_id"].to_numpy(dtype=str)
    targets = np.where(cohort.mask(), cohort.targets(), -1.0)
    enough = [
        all(
            len(set(patients[prepared.in_split(split) & (target > 0)])) >= LEAST_PATIENTS for split in ("train", "test")
        )
        for target in targets.T
    ]
    labels = tuple(label for label, kept in zip(cohort.labels, enough, strict=True) if kept)
    tasks = {cohort.name: (labels, targets[:, enough])}
    if "subtype" in table.columns:
        subtype = table["subtype"].map({"bacteria": 0.0, "virus": 1.0}).fillna(-1.0).to_numpy()
        tasks["virus or bacteria"] = (("virus",), subtype[:, None])
    return tasks


def intervals(targets: np.ndarray, scores: dict[str, list[np.ndarray]], patients: np.ndarray) -> dict[str, object]:
    """Mean AUROC over labels and seeds and its difference, patients drawn with replacement."""
    rng = np.random.default_rng(0)
    names, owner = np.unique(patients, return_inverse=True)
    rows_of = [np.flatnonzero(owner == number) for number in range(len(names))]
    draws = [np.arange(len(targets))]
    draws += [
        np.concatenate([rows_of[n] for n in rng.integers(len(names), size=len(names))]) for _ in range(REPLICATES)
    ]
    by_seed = {
        name: np.array([[mean_auroc(one[rows], targets[rows], targets[rows] >= 0) for one in each] for rows in draws])
        for name, each in scores.items()
    }
    values = {name: found.astype(float).mean(axis=1) for name, found in by_seed.items()}
    values["difference"] = values["pretrained"] - values["untaught"]
    found: dict[str, object] = {
        name: {"value": each[0], "low": np.nanquantile(each[1:], 0.025), "high": np.nanquantile(each[1:], 0.975)}
        for name, each in values.items()
    }
    found["each seed"] = {name: each[0] for name, each in by_seed.items()}
    return found | {"images": len(targets), "patients": len(names), "positives": (targets > 0).sum(axis=0)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+", help="of one cohort and split, each with another training seed")
    parser.add_argument("--out", type=Path, default=RESULTS / "probe.json")
    parser.add_argument("--store", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    for run in given.runs:
        settings = load_toml(run / "settings.toml", ExperimentSettings)
        prepared = prepare(settings, given.store, silent)
        tasks = tasks_of(prepared)
        untaught = new_classifier(settings, prepared, settings.training.seed)
        pretrained = copy.deepcopy(untaught).eval()
        load_weights(pretrained.backbone, run / "backbone.safetensors")
        measure_normalisation(untaught, prepared)
        for name, model in (("untaught", untaught), ("pretrained", pretrained)):
            found = features(model, prepared)
            for task, (_, targets) in tasks.items():
                scores.setdefault(task, {}).setdefault(name, []).append(probe(found, targets, prepared))
    patients = prepared.cohort.table["patient_id"].to_numpy(dtype=str)
    results: dict[str, object] = {}
    for task, (labels, targets) in tasks.items():
        rows = prepared.in_split("test") & (targets >= 0).any(axis=1)
        tested = {name: [one[rows] for one in each] for name, each in scores[task].items()}
        results[task] = {"labels": labels} | intervals(targets[rows], tested, patients[rows])
    write_json(given.out, results)
    print(results)


if __name__ == "__main__":
    main()
