"""Frozen networks on ChestX-ray14: a logistic regression per label on features that were never trained on these images.

Cheap enough for every split and every network on any machine. What it finds is a lower bound of what a network can see,
and it compares architectures and pretrained weights on equal terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from resight.evaluation import Evaluation, EvaluationOptions, evaluate
from resight.models import choose_device
from resight.predictions import Predictions
from resight.preprocess import Recipe, Store
from resight.protocols.chestxray14_labels import rate_scores
from resight.protocols.chestxray14_networks import CT, frozen_network
from resight.training.data import TrainingData
from resight.training.norms import adapt_norms
from resight.training.validate import Features, view_features
from resight.types import Cohort, Progress, RowMask, Scores

NO_IMAGE: Final = "view, sex and age"
"""The rival that looks at no image, counted on the same rows."""
_CT_STAGE: Final = 2
_VIEWS: Final = 2
_BATCH: Final = 32
_LEAST: Final = 5
"""Positives and negatives a regression is fitted on at least; other labels get their rate as the score of all."""
_PENALTIES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse penalties; the validation images choose one for all labels."""


@dataclass(frozen=True)
class ProbeResult:
    """One probe on one split.

    Attributes:
        split: the cohort with its split.
        evaluation: on the test images.
    """

    split: Cohort
    evaluation: Evaluation


def probe_features(probe: str, cohort: Cohort, out: Path, size_px: int, progress: Progress) -> Features:
    """Features of all images, or what is kept of them.

    Batch normalisation of CT weights takes the statistics of all images; no label is looked at.

    Args:
        probe: as `network_of`.
        cohort: all images, in the order of the rows.
        out: features and prepared images are kept there.
        size_px: side of the images; networks that need more get what they need.
        progress: told while images are prepared.
    """
    path = out / "features" / f"{probe}-{size_px}px.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    device = choose_device("auto")
    model = frozen_network(probe, out).to(device)
    size = max(size_px, model.backbone.min_size_px)
    recipe = Recipe(size_px=(size, size))
    store = Store.build(
        cohort.paths,
        recipe,
        out / "probe-store" / recipe.fingerprint()[:12],
        workers=1,
        progress=lambda done, total: progress("prepare", done, total, ""),
    )
    data = TrainingData(
        store, np.arange(len(cohort)), cohort.targets(), cohort.mask(), tuple(cohort.table["image"].astype(str))
    )
    ct = probe.endswith(CT)
    if ct:
        adapt_norms(model, data, batch_size=_BATCH, device=device)
    stage = _CT_STAGE if ct else -1
    found = view_features(model, data, n_views=_VIEWS, batch_size=_BATCH, device=device, precision="fp32", stage=stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    np.save(part, found)
    part.replace(path)
    return found


def judge_probe(features: Features | None, split: Cohort, *, bootstrap: int) -> ProbeResult:
    """Fit on the training images, choose the penalty on the validation images, judge on the test images.

    Args:
        features: of the rows of `split`; None counts rates by view, sex and age instead.
        split: the cohort with its split.
        bootstrap: replicates by patient.
    """
    parts = {name: (split.table["split"] == name).to_numpy() for name in ("train", "validation", "test")}
    if features is None:
        scores = rate_scores(split, ~parts["test"], ("view", "sex", "decade"))
    else:
        tried = [_scores(features.mean(axis=1), split, parts["train"], penalty) for penalty in _PENALTIES]
        means = [_judged(one, split, parts["validation"], 0).macro["auroc"].value for one in tried]
        scores = tried[int(np.nanargmax(means)) if not np.isnan(means).all() else 0]
    return ProbeResult(split, _judged(scores, split, parts["test"], bootstrap))


def in_order_of(split: Cohort, cohort: Cohort, features: Features) -> Features:
    """Features of the cohort's rows in the order of the split's."""
    place = {name: row for row, name in enumerate(cohort.table["image"])}
    return features[[place[name] for name in split.table["image"]]]


def _scores(flat: Float[np.ndarray, "N F"], split: Cohort, train: RowMask, penalty: float) -> Scores:
    targets = split.targets()
    scores = np.tile(targets[train].mean(axis=0), (len(split), 1))
    scaled = StandardScaler().fit(flat[train]).transform(flat)
    for column in range(len(split.labels)):
        y = targets[train, column]
        if min(y.sum(), len(y) - y.sum()) >= _LEAST:
            model = LogisticRegression(C=penalty, max_iter=500).fit(scaled[train], y)
            scores[:, column] = model.predict_proba(scaled)[:, 1]
    return scores


def _judged(scores: Scores, split: Cohort, rows: RowMask, bootstrap: int) -> Evaluation:
    part = replace(split, table=split.table[rows].reset_index(drop=True))
    predictions = Predictions.from_arrays(
        part.table[["image", "patient_id"]], part.labels, part.task, score=scores[rows], target=part.targets()
    )
    return evaluate(predictions, EvaluationOptions(bootstrap=bootstrap, baselines=False))
