"""Image size and grey levels for the frozen ResNet-50 of the brain study, judged on learning images alone.

The learning images of the first hold-out (look-alikes together, seed 0) are divided into five folds, three times; the
hold-out's test images are not read. Needs the extra `ct152`.

    python benchmarks/brain_choice.py ../shared/data/brain_mri_tumour_nickparvar --scratch /tmp/brain_choice
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from resight.backbones.ct_resnet import begin_with_ct, ct_resnet152_weights
from resight.models import ModelOptions, build_classifier
from resight.preprocess import Recipe
from resight.preprocess.intensity import Standardisation
from resight.protocols.brain_data import BrainImages, Rows, hold_outs, load_images
from resight.training.norms import adapt_norms
from resight.training.validate import view_features
from resight.types import silent

TRIED: tuple[tuple[int, Standardisation | None], ...] = (
    (128, None),
    (128, "z-score"),
    (128, "percentile"),
    (160, "percentile"),
)
CLASSIFIERS = {"RBF-SVM": SVC(C=3), "logistic regression": LogisticRegression(C=0.01, max_iter=400)}
STAGE, FROZEN_STAGES, VIEWS, BATCH = 2, 2, 2, 64
FOLDS, TIMES = 5, 3


def features(images: BrainImages, rows: Rows, weights: Path) -> np.ndarray:
    """Third stage of the ResNet-50, its batch normalisation adapted to the same rows; mean over an image and its mirror
    image."""
    torch.manual_seed(0)
    model = build_classifier(
        ModelOptions(backbone={"name": "resnet", "depth": 50}), labels=("abnormal",), channels=1, dims=2
    )
    begin_with_ct(model.backbone, weights, frozen_stages=FROZEN_STAGES)
    device, data = torch.device("cpu"), images.samples(rows)
    adapt_norms(model, data, batch_size=BATCH, device=device)
    found = view_features(model, data, n_views=VIEWS, batch_size=BATCH, device=device, precision="bf16", stage=STAGE)
    return found.mean(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    weights = ct_resnet152_weights(given.scratch / "weights")
    print("| size and intensity | " + " | ".join(f"{name}: AUROC | accuracy" for name in CLASSIFIERS) + " | seconds |")
    print("| --- " * (2 * len(CLASSIFIERS) + 2) + "|")
    for side, intensity in TRIED:
        recipe = Recipe(size_px=(side, side), intensity=intensity)
        images = load_images(given.data, recipe, given.scratch / f"{side}-{intensity}", silent)
        (split,) = hold_outs(images, times=1, test=0.2, validation=0.15, seed=0)
        began = time.perf_counter()
        x, y, groups = features(images, split.learn, weights), images.targets[split.learn], images.groups[split.learn]
        seconds = time.perf_counter() - began
        cells: list[str] = []
        for classifier in CLASSIFIERS.values():
            aurocs, accuracies = [], []
            for seed in range(TIMES):
                scores = np.zeros(len(y))
                for learn, judge in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(x, y, groups):
                    fitted = make_pipeline(StandardScaler(), classifier).fit(x[learn], y[learn])
                    scores[judge] = fitted.decision_function(x[judge])
                aurocs.append(roc_auc_score(y, scores))
                accuracies.append(((scores > 0) == y).mean())
            cells += [f"{np.mean(aurocs):.3f}", f"{np.mean(accuracies):.3f}"]
        print(f"| {side} px, {intensity or 'as they are'} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
