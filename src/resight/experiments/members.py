"""Training one network, several with different seeds, or one per fold; and what they predict together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from resight.cohorts import assign_folds
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.models import Classifier, build_classifier, choose_device
from resight.models.device import Precision
from resight.multimodal import TableEncoding
from resight.training import FitResult, TrainingOptions, fit, predict_logits
from resight.types import Progress, RowMask, Scores

Folds = Int[np.ndarray, " N"]


@dataclass(frozen=True)
class Ensemble:
    """Trained networks and their logits on everything they were not trained on.

    Attributes:
        models: one or several classifiers.
        fits: how each was trained.
        validation: which of the cohort's N images were used to choose epochs, to calibrate and to set thresholds.
        folds: fold of every image `(N,)`, -1 where it has none.
        logits: `(N, L)`; of validation images from networks that did not see them, of test images the mean over all
            networks; NaN for images that were only trained on.
    """

    models: tuple[Classifier, ...]
    fits: tuple[FitResult, ...]
    validation: RowMask
    folds: Folds
    logits: Scores


@dataclass(frozen=True)
class _Plan:
    train: RowMask
    validation: RowMask
    seed: int


def train_members(
    settings: ExperimentSettings, prepared: Prepared, folder: Path, *, resume: bool, progress: Progress
) -> Ensemble:
    """Train every member and collect held-out logits.

    Args:
        settings: the experiment.
        prepared: cohort and store.
        folder: checkpoints go to `folder/member-0`, `folder/member-1`, ...
        resume: continue where checkpoints are.
        progress: told after every step.

    Raises:
        TrainingError, SettingsError, OutputError: from `resight.training.fit`.
    """
    plans, folds = _plans(settings, prepared)
    test = prepared.in_split("test")
    n, n_labels = len(prepared.cohort), len(prepared.cohort.labels)
    sums, counts = np.zeros((n, n_labels)), np.zeros(n)
    models: list[Classifier] = []
    fits: list[FitResult] = []
    for number, plan in enumerate(plans):
        options = settings.training.model_copy(update={"seed": plan.seed})
        model = new_classifier(settings, prepared, plan.seed)
        result = fit(
            model,
            prepared.samples(plan.train),
            prepared.samples(plan.validation),
            options,
            task=prepared.cohort.task,
            folder=folder / f"member-{number}",
            augmentation=settings.augmentation,
            resume=resume,
            progress=_numbered(progress, number, len(plans)),
        )
        held_out = plan.validation | test
        sums[held_out] += _logits(model, prepared, held_out, options, result.precision)
        counts[held_out] += 1
        models.append(model)
        fits.append(result)
    validation = np.logical_or.reduce([plan.validation for plan in plans])
    with np.errstate(invalid="ignore"):
        logits = sums / np.where(counts > 0, counts, np.nan)[:, None]
    return Ensemble(tuple(models), tuple(fits), validation, folds, logits)


def member_training(settings: ExperimentSettings, prepared: Prepared) -> tuple[RowMask, int]:
    """Which images the first member learns from, and the seed of its weights and order."""
    plans, _ = _plans(settings, prepared)
    return plans[0].train, plans[0].seed


def new_classifier(settings: ExperimentSettings, prepared: Prepared, seed: int) -> Classifier:
    """The classifier of an experiment for a prepared cohort."""
    return seeded_classifier(settings, prepared.cohort.labels, prepared.encoding, seed)


def seeded_classifier(
    settings: ExperimentSettings, labels: Sequence[str], encoding: TableEncoding | None, seed: int
) -> Classifier:
    """A classifier with fresh weights that are a function of the seed alone."""
    torch.manual_seed(seed)
    return build_classifier(
        settings.model,
        labels=labels,
        channels=settings.recipe.input_channels,
        dims=len(settings.recipe.size_px),
        modalities=max(len(settings.recipe.modalities), 1),
        encoding=encoding,
    )


def _plans(settings: ExperimentSettings, prepared: Prepared) -> tuple[list[_Plan], Folds]:
    seed = settings.training.seed
    folds = np.full(len(prepared.cohort), -1)
    if not settings.folds:
        train, validation = prepared.in_split("train"), prepared.in_split("validation")
        return [_Plan(train, validation, seed + member) for member in range(settings.members)], folds
    learning = ~prepared.in_split("test")
    folded = assign_folds(
        prepared.cohort.rows(learning),
        settings.folds,
        settings.split.seed,
        group=settings.split.group,
        clusters=settings.split.clusters,
    )
    folds[learning] = folded.table["fold"].to_numpy()
    return [_Plan(learning & (folds != k), folds == k, seed + k) for k in range(settings.folds)], folds


def _logits(
    model: Classifier, prepared: Prepared, keep: RowMask, options: TrainingOptions, precision: Precision
) -> Scores:
    return predict_logits(
        model,
        prepared.samples(keep),
        batch_size=options.batch_size,
        device=choose_device(options.device),
        precision=precision,
    )


def _numbered(progress: Progress, number: int, total: int) -> Progress:
    if total == 1:
        return progress
    return lambda stage, done, todo, detail: progress(f"{stage} {number + 1}/{total}", done, todo, detail)
