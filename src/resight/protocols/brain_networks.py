"""Features of the brain study: from a ResNet trained in every split, or from one that is never trained here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float

from resight.backbones.ct_resnet import begin_with_ct
from resight.models import Classifier, ModelOptions, autocast, build_classifier, channels_last, choose_device, view
from resight.models.device import Precision
from resight.preprocess import Augmentation
from resight.protocols.brain_data import LABEL, BrainImages, Rows, Split
from resight.settings import write_json
from resight.training import TrainingOptions, fit
from resight.training.data import Reader, TrainingData
from resight.training.norms import adapt_norms
from resight.training.validate import view_features
from resight.types import Progress

Source = Literal["plain", "trained", "folded", "tuned", "frozen", "ct"]
"""A ResNet-18 trained in every split: as a plain script does, as this study does, and, on smaller images, in all the
folds of cross-validations; a ResNet-50 that begins there with CT weights; a ResNet-18 and the ResNet-50 with CT weights
that are never trained on these images."""
HeadViews = Literal["changed", "plain"]
"""Heads learn from features of one randomly changed view of each learning image, or of the image as it is. The network
was trained on these images: it tells them apart better, as they are, than any it has not seen."""
TRAINED: Final[frozenset[Source]] = frozenset({"plain", "trained", "folded", "tuned"})
CT_DEPTH: Final = 50
_CT_STAGE: Final = 2
"""The third: the last one of the CT network knows organs rather than textures."""
_FROZEN_STAGES = 2
"""Of the network that begins with CT weights: few images teach the first stages nothing new."""
_FROZEN_BATCH = 64
_UNSEEN_EPOCH: Final = 1_000_000
"""So that the random views heads learn from are none of those the network was trained on."""
_VIEWS = (0, 1)
"""As it is, and left and right swapped: a network's answers are means over both."""


@dataclass(frozen=True)
class Extracted:
    """What a network makes of the N images.

    Attributes:
        features: what its head takes; NaN for images that a split leaves out.
        logits: its own logits for `abnormal`; NaN for those images, and where it was never trained.
        seconds: training time; 0 where it was never trained.
        best_epoch: epoch chosen by the validation images; -1 where it was never trained.
        validation_auroc: AUROC there; NaN where it was never trained.
        learning: features that heads learn from, of the learning rows in order, where these were trained on: of one
            random view of each, as the network was shown them. None: heads learn from `features`.
    """

    features: Float[np.ndarray, "N F"]
    logits: Float[np.ndarray, " N"]
    seconds: float
    best_epoch: int = -1
    validation_auroc: float = float("nan")
    learning: Float[np.ndarray, "n F"] | None = None

    def write(self, path: Path) -> None:
        """Keep it, whole or not at all."""
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **{name: value for name, value in vars(self).items() if value is not None})
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Extracted:
        """Read what was kept."""
        with np.load(path, allow_pickle=False) as kept:
            return cls(
                kept["features"],
                kept["logits"],
                float(kept["seconds"]),
                int(kept["best_epoch"]),
                float(kept["validation_auroc"]),
                kept.get("learning"),
            )

    def learned_from(self, split: Split) -> Float[np.ndarray, "n F"]:
        """Features of the split's learning rows that heads are fitted on."""
        return self.features[split.learn] if self.learning is None else self.learning


def folder_of(source: Source, networks: Path) -> Path:
    """Where the networks trained for a source are kept."""
    return networks if source == "trained" else networks / source


def trained_features(
    images: BrainImages,
    split: Split,
    training: TrainingOptions,
    augmentation: Augmentation,
    folder: Path,
    progress: Progress,
    start: Path | None = None,
    ct: bool = False,
    views: HeadViews = "changed",
) -> Extracted:
    """Train a ResNet on the split's training rows, or read what is left of that.

    Args:
        images: the cohort.
        split: the test rows take no part.
        training: options of the training; the seed is moved by the round.
        augmentation: of training images.
        folder: the result is kept there, and checkpoints while training lasts.
        progress: told after every step.
        start: weights it begins with; without, a ResNet-18 learns from scratch.
        ct: they are the file of the extra `ct152`, whose first units a ResNet-50 begins with.
        views: what heads learn from.
    """
    kept = folder / f"{split.name}.npz"
    if kept.exists():
        return Extracted.read(kept)
    options = training.model_copy(update={"seed": training.seed + 100 * split.round + split.fold})
    model = _ct_resnet(start, options.seed) if start and ct else _resnet(ModelOptions(weights=start), options.seed)
    checkpoints = folder / split.name
    result = fit(
        model,
        images.samples(split.train),
        images.samples(split.validation),
        options,
        task="binary",
        folder=checkpoints,
        augmentation=augmentation,
        resume=True,
        progress=progress,
    )
    device = choose_device(options.device)
    read = _Reading(model, options.batch_size, device, result.precision)
    rows = np.sort(np.concatenate([split.learn, split.test]))
    features, logits = (_among(len(images.cohort), rows, part) for part in read(images.samples(rows)))
    changed = views == "changed"
    learning = read(images.samples(split.learn), augmentation, options.seed)[0] if changed else None
    found = Extracted(features, logits, result.seconds, result.best_epoch, result.best_value, learning)
    write_json(folder / f"{split.name}.json", {"history": result.history})
    found.write(kept)
    shutil.rmtree(checkpoints)
    return found


def frozen_features(images: BrainImages, weights: Path | None, folder: Path, seed: int) -> Extracted:
    """Features of a ResNet-18 that is never trained here.

    Args:
        images: the cohort.
        weights: file of the backbone's weights; random ones where not given.
        folder: the result is kept there.
        seed: of random weights.
    """
    kept = folder / "frozen.npz"
    if kept.exists():
        return Extracted.read(kept)
    # with zero_init the units of a fresh network would all be the identity
    backbone = {"name": "resnet", "zero_init": False}
    model = _resnet(ModelOptions(backbone=backbone, weights=weights), seed)
    features, _ = _Reading(model, _FROZEN_BATCH, choose_device("auto"), "fp32")(_all(images))
    found = Extracted(features, np.full(len(features), np.nan), 0.0)
    folder.mkdir(parents=True, exist_ok=True)
    found.write(kept)
    return found


def ct_features(images: BrainImages, start: Path, folder: Path, seed: int) -> Extracted:
    """Features of the third stage of a ResNet-50 with CT weights.

    Its batch normalisation takes the statistics of all images, those of test parts among them; no label is looked at.

    Args:
        images: the cohort.
        start: file of the extra `ct152`.
        folder: the result is kept there.
        seed: of the head, which takes no part.
    """
    kept = folder / "ct.npz"
    if kept.exists():
        return Extracted.read(kept)
    device, data = choose_device("auto"), _all(images)
    model = _ct_resnet(start, seed).to(device)
    adapt_norms(model, data, batch_size=_FROZEN_BATCH, device=device)
    features = view_features(
        model, data, n_views=len(_VIEWS), batch_size=_FROZEN_BATCH, device=device, precision="fp32", stage=_CT_STAGE
    ).mean(axis=1)
    found = Extracted(features, np.full(len(features), np.nan), 0.0)
    folder.mkdir(parents=True, exist_ok=True)
    found.write(kept)
    return found


def _ct_resnet(start: Path, seed: int) -> Classifier:
    model = _resnet(ModelOptions(backbone={"name": "resnet", "depth": CT_DEPTH}), seed)
    begin_with_ct(model.backbone, start, frozen_stages=_FROZEN_STAGES)
    return model


def _resnet(options: ModelOptions, seed: int) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier(options, labels=(LABEL,), channels=1, dims=2)


def _among(count: int, rows: Rows, values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "N ..."]:
    """Values of some rows among all; NaN for the others, which no one asks for."""
    among = np.full((count, *values.shape[1:]), np.nan, values.dtype)
    among[rows] = values
    return among


def _all(images: BrainImages) -> TrainingData:
    return images.samples(np.arange(len(images.cohort)))


class _Reading:
    """Features and logits of a network, each the mean over the image and its mirror image."""

    def __init__(self, model: Classifier, batch_size: int, device: torch.device, precision: Precision) -> None:
        self._model, self._device = model.to(device).eval(), device
        self._batch_size = batch_size
        self._precision: Precision = precision

    def __call__(
        self, data: TrainingData, augmentation: Augmentation | None = None, seed: int = 0
    ) -> tuple[Float[np.ndarray, "N F"], Float[np.ndarray, " N"]]:
        model = self._model
        features = np.zeros((len(data), model.backbone.feature_dim), np.float32)
        logits = np.zeros(len(data), np.float32)
        reader = Reader(data, batch_size=self._batch_size, device=self._device, augmentation=augmentation, seed=seed)
        with torch.inference_mode(), autocast(self._precision, self._device):
            for batch in reader.batches(np.arange(len(data)), epoch=_UNSEEN_EPOCH):
                rows = batch.samples.numpy()
                for number in _VIEWS:
                    found = model.features(channels_last(view(batch.images, number)))
                    features[rows] += found.float().cpu().numpy() / len(_VIEWS)
                    logits[rows] += model.head(found).float().cpu().numpy()[:, 0] / len(_VIEWS)
        return features, logits
