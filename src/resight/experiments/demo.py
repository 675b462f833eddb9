"""`resight demo`: the whole street on drawn images with planted findings, offline and within minutes."""

from __future__ import annotations

from pathlib import Path

from resight.cohorts import CohortOptions, PhantomOptions, SplitOptions, write_phantom
from resight.experiments.run import Run, train_experiment
from resight.experiments.settings import ExperimentSettings
from resight.preprocess import Augmentation, Recipe
from resight.settings import dump_toml
from resight.training import TrainingOptions
from resight.types import Progress, silent

_FINDINGS = ("Cardiomegaly", "Effusion", "Mass", "Pneumothorax")
_IMAGES, _SIZE_PX, _EPOCHS = 1500, 96, 12
"""Enough that the findings are learned within five minutes on two cores."""
_SMOKE_IMAGES, _SMOKE_EPOCHS = 240, 2


def demo_settings(cohort: Path, *, seed: int = 0, small: bool = False) -> ExperimentSettings:
    """The experiment of the demo.

    Args:
        cohort: table of the phantom cohort.
        seed: of the training.
        small: two epochs, to see that everything fits together.
    """
    epochs = _SMOKE_EPOCHS if small else _EPOCHS
    return ExperimentSettings(
        name="Planted findings on drawn chest X-rays",
        intended_use="To show what a run looks like. Drawn images say nothing about patients.",
        cohort=CohortOptions(path=cohort, labels=_FINDINGS, name="phantom"),
        split=SplitOptions(column="split"),
        recipe=Recipe(size_px=(_SIZE_PX, _SIZE_PX)),
        augmentation=Augmentation(rotate_deg=5, scale=0.05, translate=0.03, gain=0.1),
        training=TrainingOptions(epochs=epochs, learning_rate=1e-3, seed=seed),
    )


def run_demo(folder: Path, *, seed: int = 0, small: bool = False, progress: Progress = silent) -> Run:
    """Draw a cohort, train on it, and write the report.

    Args:
        folder: gets `phantom/` (images and tables), `experiment.toml` and `run/`.
        seed: of images and training.
        small: a tenth of the images and epochs.
        progress: told about every stage.

    Raises:
        OutputError: the folder cannot be written.
    """
    count = _SMOKE_IMAGES if small else _IMAGES
    options = PhantomOptions(images=count, size_px=_SIZE_PX, findings=_FINDINGS, prevalence=0.25, seed=seed)
    progress("draw", 0, count, "")
    write_phantom(options, folder / "phantom")
    progress("draw", count, count, "")
    settings = demo_settings(folder / "phantom" / "cohort.csv", seed=seed, small=small)
    (folder / "experiment.toml").write_text(dump_toml(settings), encoding="utf-8")
    return train_experiment(settings, folder / "run", progress=progress)
