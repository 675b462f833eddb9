"""Scores of a run's evidence maps, and the network on permuted labels that they are held against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int

from resight.experiments.judge import Judged
from resight.experiments.members import Ensemble, member_training, new_classifier
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.explain import MapScores, References, build_explainer, score_maps
from resight.imaging import read
from resight.models import Classifier
from resight.models.bundle import save_bundle
from resight.models.manifest import Manifest
from resight.training import fit
from resight.types import Progress

CONTROL_FOLDER = "control"
EXPLAINER = "gradcam"
_MOST_MAPS = 32
"""Images the maps are scored on: enough for a one-sided test, seconds of work."""
_MOST_VOLUMES = 16
"""Of volumes fewer: noise and filled-in voxels of 32 would take gigabytes and minutes."""
_CONTROL_SEED = 1
"""Of the permutation; that of the network is the run's own."""


def train_control(
    settings: ExperimentSettings, prepared: Prepared, folder: Path, *, resume: bool, progress: Progress
) -> Classifier:
    """Train the run's first network once more, on labels dealt out anew among the training images.

    It keeps the epoch that knows the permuted training labels best, as there is nothing else to know.

    Args:
        settings: of the run.
        prepared: its cohort.
        folder: for checkpoints.
        resume: continue where checkpoints are.
        progress: told after every step.
    """
    rows, seed = member_training(settings, prepared)
    data = prepared.samples(rows)
    order = np.random.default_rng(_CONTROL_SEED).permutation(len(data))
    permuted = replace(data, targets=data.targets[order], mask=data.mask[order])
    model = new_classifier(settings, prepared, seed)
    fit(
        model,
        permuted,
        permuted,
        settings.training.model_copy(update={"seed": seed}),
        task=prepared.cohort.task,
        folder=folder,
        augmentation=settings.augmentation,
        resume=resume,
        progress=lambda stage, done, total, detail: progress(f"{stage} on permuted labels", done, total, detail),
    )
    return model


def save_control(folder: Path, control: Classifier, manifest: Manifest) -> None:
    """Keep the network on permuted labels, so that other explainers can be held against it later.

    Raises:
        OutputError: the folder exists or cannot be written.
    """
    kept = Manifest(
        name=f"{manifest.name}, trained on permuted labels",
        created=manifest.created,
        labels=manifest.labels,
        task=manifest.task,
        recipe=manifest.recipe,
        model=manifest.model,
        encoding=manifest.encoding,
        horizons=manifest.horizons,
        intended_use="To check explanations of the model that was trained on the right labels.",
        limits=("Its labels were permuted: what it says of an image means nothing.",),
    )
    save_bundle(folder, control, kept)


def score_evidence(
    settings: ExperimentSettings,
    prepared: Prepared,
    ensemble: Ensemble,
    judged: Judged,
    control: Classifier | None = None,
) -> MapScores:
    """Score the evidence maps of the first network on some of the images evaluated, first those with references.

    Args:
        settings: name boxes or masks in `report.references`.
        prepared: the cohort.
        ensemble: whose first network is explained.
        judged: says which images were evaluated and what was called.
        control: from `train_control`.

    Raises:
        DataError: references that cannot be read or do not fit the images.
    """
    cohort, model = prepared.cohort, ensemble.models[0]
    rows = np.flatnonzero(prepared.in_split(judged.evaluated_on))
    most = _MOST_MAPS if len(settings.recipe.size_px) == 2 else _MOST_VOLUMES
    references = None
    if settings.report.references is not None and not cohort.modalities:
        found = _references(References.read(settings.report.references), settings, prepared, rows)
        known = found.reshape(len(rows), -1).any(axis=1)
        order = np.argsort(~known, kind="stable")[:most]
        rows, references = rows[order], found[order]
    rows = rows[:most]
    images = torch.from_numpy(np.stack([prepared.store[int(row)] for row in prepared.rows[rows]]))
    named = "patient_id" in cohort.table.columns
    return score_maps(
        build_explainer(EXPLAINER),
        model,
        images.to(model.mean.device),
        method=EXPLAINER,
        references=references,
        called=judged.predictions.array("decision")[rows] > 0,
        control=control,
        patients=cohort.table["patient_id"].iloc[rows].astype(str).tolist() if named else None,
        task=cohort.task,
    )


def _references(
    references: References, settings: ExperimentSettings, prepared: Prepared, rows: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "n L *space"]:
    cohort = prepared.cohort
    found = np.zeros((len(rows), len(cohort.labels), *settings.recipe.size_px), dtype=bool)
    for place, row in enumerate(rows):
        name = str(cohort.table["image"].iloc[row])
        if references.names(name):
            image = read(cohort.paths[row], voi=settings.recipe.voi)
            found[place] = references.on_prepared_grid(name, image, settings.recipe, cohort.labels)
    return found
