"""Gaps between groups on real images, and what mitigation does to them: chest X-rays (NIH-1000) and skin (ISIC-2017).

    python benchmarks/groups.py nih ../shared/data/cxr_nih14_1000/index.csv
    python benchmarks/groups.py isic ../shared/data/derm_isic2017

Features come from EfficientNet-Lite0 with its ImageNet weights (extra `lite0`), scores from logistic regression that is
always asked about patients it did not see (five folds). Half of the patients choose thresholds and calibrations, the
other half is judged. "reweighted" is the same regression with the weights of Kamiran & Calders (2012). Writes
benchmarks/results/groups/<study>.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from resight.backbones.efficientnet_lite import lite0_weights
from resight.cohorts import CohortOptions, load_cohort
from resight.cohorts.isic2017 import load_isic2017
from resight.fairness import AuditOptions, audit, effects, make_groupings, mitigate
from resight.models import ModelOptions, build_classifier
from resight.predictions import Predictions
from resight.preprocess import Recipe
from resight.settings import plain
from resight.training.imbalance import group_sampling_weights

SIZE_PX = 160
NIH_LABELS = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
STUDIES = {"nih": ("sex", "view", "age"), "isic": ("sex", "age")}
EDGES = {"age": (50.0,)}
RESULTS = Path(__file__).parent / "results" / "groups"


def features(paths: list[Path], cache: Path) -> np.ndarray:
    """Pooled features; a cache keeps what was done when the process was stopped."""
    found = list(np.load(cache)) if cache.exists() else []
    options = ModelOptions(backbone={"name": "efficientnet_lite"}, weights=lite0_weights())
    network = build_classifier(options, labels=("a",), channels=3, dims=2).eval()
    recipe = Recipe(size_px=(SIZE_PX, SIZE_PX), channels=3)
    for start in range(len(found), len(paths), 50):
        images = np.stack([recipe.prepare(path) for path in paths[start : start + 50]])
        with torch.inference_mode():
            found.extend(network.features(torch.from_numpy(images)).numpy())
        np.save(cache, np.stack(found))
    return np.stack(found).astype(np.float64)


def out_of_fold(x: np.ndarray, y: np.ndarray, patients: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Probabilities of images whose patients were not seen; with groups, reweighted so that group and label part."""
    p = np.full(len(y), np.nan)
    for train, out in GroupKFold(5, shuffle=True, random_state=0).split(x, groups=patients):
        weights = None
        if groups is not None:
            weights = group_sampling_weights(y[train, None], np.ones((len(train), 1), bool), groups[train])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-4, max_iter=300))
        model.fit(x[train], y[train], logisticregression__sample_weight=weights)
        p[out] = model.predict_proba(x[out])[:, 1]
    return p


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("features"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.study == "nih":
        cohort = load_cohort(CohortOptions(path=given.cohort, labels=NIH_LABELS))
    else:
        cohort = load_isic2017(given.cohort)
    cohort = cohort.rows(~np.isnan(cohort.targets()).any(axis=1))
    table, y = cohort.table, cohort.targets()
    patients = (table["patient_id"] if "patient_id" in table else table["image"]).astype(str).to_numpy()
    given.cache.mkdir(exist_ok=True)
    x = features(cohort.paths, given.cache / f"{given.study}.npy")
    chosen = np.random.default_rng(0).permutation(np.unique(patients))
    half = np.isin(patients, chosen[: len(chosen) // 2])
    images = table[[c for c in ("image", "patient_id", "sex", "age", "view") if c in table]].copy()
    images["split"] = np.where(half, "validation", "test")

    def predicted(groups: np.ndarray | None) -> Predictions:
        p = np.stack([out_of_fold(x, column, patients, groups) for column in y.T], axis=1)
        decisions = (p >= y[half].mean(axis=0)).astype(
            float
        )  # a base rate is a threshold that needs no outcome of a test
        return Predictions.from_arrays(
            images, cohort.labels, "multilabel", score=p, probability=p, decision=decisions, target=y
        )

    usual = predicted(None)
    by = STUDIES[given.study]
    everybody = AuditOptions(by=by, edges=EDGES, split="all")
    found = audit(usual, everybody)
    result = {
        "images": found.images,
        "patients": found.patients,
        "judged_by_halves": {k: int(v) for k, v in images["split"].value_counts().items()},
        "audit": {
            "tests": found.tests,
            "found": [plain(one) for one in found.found],
            "gaps": [
                plain(g) for g in found.gaps if g.metric in ("equalised_odds", "observed_minus_expected", "auroc")
            ],
            "causes": [plain(c) for c in found.causes if c.p < 0.05],
            "notes": found.notes,
        },
        "mitigation": {},
    }
    for attribute in by:
        options = AuditOptions(by=(attribute,), edges={k: v for k, v in EDGES.items() if k == attribute}, split="test")
        for method in ("equal_sensitivity", "equalised_odds", "recalibrate"):
            done = mitigate(usual, method, options)
            result["mitigation"][f"{attribute}: {method}"] = [plain(one) for one in done.effects]
        (grouping,) = make_groupings(images, [attribute], options.edges)
        groups = np.where(grouping.index < 0, len(grouping.groups), grouping.index)
        result["mitigation"][f"{attribute}: reweighted"] = [
            plain(e) for e in effects(usual, predicted(groups), options)
        ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(result), indent=1)
    (RESULTS / f"{given.study}.json").write_text(text + "\n", encoding="utf-8")
    print(
        json.dumps({k: v for k, v in result.items() if k not in ("audit", "mitigation")}), found.tests, len(found.found)
    )


if __name__ == "__main__":
    main()
