"""Networks of the skin study: where they begin, how they are trained on the three classes, and what they answer."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import nn

from resight.cohorts import ISIC_LABELS
from resight.models import AveragedViews, Classifier, ModelOptions, build_classifier, choose_device
from resight.models.device import Precision
from resight.preprocess import Augmentation, Recipe, Store
from resight.settings import write_json
from resight.training import TrainingOptions, fit, predict_logits
from resight.training.data import TrainingData
from resight.training.norms import adapt_norms
from resight.training.validate import Features, view_features
from resight.types import Cohort, Progress, Scores

AUGMENTATION = Augmentation(
    flip=0.5,
    flip_vertical=0.5,
    rotate_deg=180,
    crop=0.6,
    gain=0.2,
    offset=0.08,
    gamma=0.2,
    hue_deg=8,
    saturation=0.2,
)
"""Lesions have no upright position, and every camera has its own white."""
FROZEN_BLOCKS = 9
"""First blocks of EfficientNet-Lite0 that fine-tuning leaves alone, and with them most of its time."""
_FEATURE_BATCH = 50


@dataclass(frozen=True)
class SkinImages:
    """The cohort, prepared in whatever sizes are asked for.

    Attributes:
        cohort: labelled and unlabelled images.
        folder: where the prepared images are kept.
        progress: told how far preparing is.
    """

    cohort: Cohort
    folder: Path
    progress: Progress

    def samples(self, size_px: int, split: str | None = None, **recipe: Any) -> TrainingData:
        """Images of one split, or all of them, stretched to squares.

        Args:
            size_px: side of the squares.
            split: which split.
            **recipe: further options of the recipe.
        """
        options = Recipe(size_px=(size_px, size_px), channels=3, resize="stretch", **recipe)
        store = Store.build(
            self.cohort.paths,
            options,
            self.folder / options.fingerprint()[:12],
            workers=1,
            progress=lambda done, total: self.progress("prepare", done, total, ""),
        )
        keep = np.ones(len(self.cohort), bool) if split is None else (self.cohort.table["split"] == split).to_numpy()
        part = self.cohort.rows(keep)
        return TrainingData(store, np.flatnonzero(keep), part.targets(), part.mask(), tuple(part.table["image"]))


@dataclass(frozen=True)
class Answers:
    """What one model says of all N images.

    Attributes:
        name: for tables.
        logits: one row an image, one column a class; NaN for images the model was trained on.
        out_of_fold: training images were answered by models that had not seen them.
        seconds: time of training.
        details: what the page should say of the training.
        one_view: logits of the upright view alone, where the others are means over views.
        history: figures of each epoch of its training.
    """

    name: str
    logits: Scores
    out_of_fold: bool = False
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    one_view: Scores | None = None
    history: Sequence[Mapping[str, float]] = ()


def build_network(backbone: dict[str, Any], seed: int) -> Classifier:
    """Any backbone with fresh weights."""
    torch.manual_seed(seed)
    return build_classifier(ModelOptions(backbone=backbone), labels=ISIC_LABELS, channels=3, dims=2)


def freeze_first_blocks(teacher: Classifier, blocks: int = FROZEN_BLOCKS) -> None:
    """Keep the stem and the first blocks of EfficientNet-Lite0 as they are."""
    fixed = ("_conv_stem.", "_bn0.", *(f"_blocks.{i}." for i in range(blocks)))
    for name, parameter in teacher.backbone.named_parameters():
        parameter.requires_grad = not name.startswith(fixed)


def features_of(
    model: Classifier,
    images: SkinImages,
    size_px: int,
    *,
    n_views: int,
    path: Path,
    stage: int = -1,
    adapted: bool = False,
    **recipe: Any,
) -> Features:
    """Features of every image in the first views, or what is kept of them.

    Args:
        model: gives them.
        images: the cohort.
        size_px: side of the images.
        n_views: how many views.
        path: file they are kept in, but for views and size, which are added to its name.
        stage: whose map is averaged.
        adapted: take the statistics of batch normalisation from the training images first.
        **recipe: further options of the recipe.
    """
    path = path.with_stem(f"{path.stem}-{n_views}x{size_px}px")
    if path.exists():
        return np.load(path, allow_pickle=False)
    device = choose_device("auto")
    model, batches = model.to(device), {"batch_size": _FEATURE_BATCH, "device": device}
    if adapted:
        adapt_norms(model, images.samples(size_px, "train", **recipe), precision="bf16", **batches)
    data = images.samples(size_px, **recipe)
    found = view_features(model, data, n_views=n_views, precision="bf16", stage=stage, **batches)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    np.save(part, found)
    part.replace(path)
    return found


def fine_tuned(
    name: str,
    model: Classifier,
    images: SkinImages,
    training: TrainingOptions,
    *,
    size_px: int,
    n_views: int,
    folder: Path,
    augmentation: Augmentation | None = AUGMENTATION,
    **recipe: Any,
) -> Answers:
    """Train on the three classes and answer for the other images, or read what is kept of that.

    Args:
        name: for tables.
        model: where training begins.
        images: the cohort; the validation images choose the epoch.
        training: all choices.
        size_px: side of the images.
        n_views: views the answers are averaged over.
        folder: of checkpoints and answers; size and options of the training are added to its name, so that other
            options make other runs.
        augmentation: of training images.
        **recipe: further options of the recipe.
    """
    made = hashlib.sha256(training.model_dump_json().encode()).hexdigest()[:8]
    folder = folder.with_name(f"{folder.name}-{size_px}px-{made}")
    kept = folder / "answers.npz"
    if not kept.exists():
        begin = time.monotonic()
        result = fit(
            model,
            images.samples(size_px, "train", **recipe),
            images.samples(size_px, "validation", **recipe),
            training,
            task="multiclass",
            folder=folder,
            augmentation=augmentation,
            resume=True,
            progress=images.progress,
        )
        each = [
            _unseen_logits(AveragedViews(model, [number]), images, size_px, training, result.precision, recipe)
            for number in range(n_views)
        ]
        details = {
            "best_epoch": result.best_epoch + 1,
            "epochs": len(result.history),
            "precision": result.precision,
            "training_seconds": round(result.seconds),
        }
        write_json(folder / "history.json", {"history": result.history, "wall_seconds": time.monotonic() - begin})
        write_json(folder / "details.json", details)
        part = folder / "answers.part.npz"
        np.savez(part, one_view=each[0], averaged=np.mean(each, axis=0))
        part.replace(kept)
    return read_answers(name, folder)


def _unseen_logits(
    model: nn.Module,
    images: SkinImages,
    size_px: int,
    training: TrainingOptions,
    precision: Precision,
    recipe: dict[str, Any],
) -> Scores:
    """Logits of validation and test images; NaN for training images, whose answers would flatter the model."""
    logits = np.full((len(images.cohort), len(ISIC_LABELS)), np.nan)
    for split in ("validation", "test"):
        data = images.samples(size_px, split, **recipe)
        if len(data):
            device = choose_device(training.device)
            logits[data.rows] = predict_logits(
                model, data, batch_size=training.batch_size, device=device, precision=precision
            )
    return logits


def read_answers(name: str, folder: Path) -> Answers:
    """What `fine_tuned` kept."""
    details, history = (
        json.loads((folder / file).read_text(encoding="utf-8")) for file in ("details.json", "history.json")
    )
    with np.load(folder / "answers.npz", allow_pickle=False) as arrays:
        return Answers(
            name,
            arrays["averaged"],
            seconds=details["training_seconds"],
            details=details,
            one_view=arrays["one_view"],
            history=history["history"],
        )


def ensemble(name: str, members: Sequence[Answers]) -> Answers:
    """The mean of the members' log-probabilities, all with the same weight: nothing is fitted."""
    logs = [log_softmax(member.logits, axis=1) for member in members]
    return Answers(name, np.mean(logs, axis=0), out_of_fold=all(m.out_of_fold for m in members))
