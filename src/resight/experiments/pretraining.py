"""`resight pretrain`: from an experiment file to backbone weights that no label has shaped."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from resight.backbones import save_weights
from resight.experiments.members import new_classifier
from resight.experiments.prepare import prepare
from resight.experiments.run import open_run_folder
from resight.experiments.settings import ExperimentSettings
from resight.settings import write_json
from resight.training.pretrain import Pretraining, pretrain
from resight.types import Progress, silent

WEIGHTS_FILE = "backbone.safetensors"


def pretrain_experiment(
    settings: ExperimentSettings, folder: Path, *, resume: bool = False, progress: Progress = silent
) -> Pretraining:
    """Pretrain the backbone on the training split; validation and test images are not looked at.

    Args:
        settings: the experiment; its augmentation says what two views of an image may differ in.
        folder: gets `backbone.safetensors`, `pretraining.json`, `settings.toml` and the checkpoint.
        resume: continue an interrupted run with the same settings.
        progress: told about every stage.

    Raises:
        ResightError: whatever stops a run; what is finished stays in the folder.
    """
    open_run_folder(settings, folder, resume=resume)
    prepared = prepare(settings, settings.store.folder or folder / "store", progress)
    model = new_classifier(settings, prepared, settings.training.seed)
    found = pretrain(
        model,
        prepared.samples(prepared.in_split("train")),
        settings.training,
        folder=folder / "checkpoints",
        augmentation=settings.augmentation,
        resume=resume,
        progress=progress,
    )
    save_weights(model.backbone, folder / WEIGHTS_FILE)
    write_json(folder / "pretraining.json", asdict(found))
    if not (settings.store.keep or settings.store.folder):
        shutil.rmtree(folder / "store")
    return found
