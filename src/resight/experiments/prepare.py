"""Before training: the cohort with its splits, the leak check by identity, and the store of prepared images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from resight.cohorts import load_cohort, split_cohort
from resight.errors import CohortError
from resight.experiments.settings import ExperimentSettings
from resight.fairness import make_groupings
from resight.preprocess import Store
from resight.training.data import TrainingData
from resight.types import Cohort, Progress, RowMask

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prepared:
    """A cohort that is ready to be learned from.

    Attributes:
        cohort: readable images only, with a `split` column.
        store: prepared images; may hold rows of unreadable images too.
        rows: row in the store of each of the cohort's N images.
        excluded: `image` and `reason` of the images that could not be used.
        assessed: how many images the table named.
        groups: `(N,)` group of each image, where training treats groups apart; None otherwise.
    """

    cohort: Cohort
    store: Store
    rows: Int[np.ndarray, " N"]
    excluded: pd.DataFrame
    assessed: int
    groups: Int[np.ndarray, " N"] | None = None

    def samples(self, keep: RowMask) -> TrainingData:
        """The images where `keep` is true, as training data."""
        part = self.cohort.rows(keep)
        groups = None if self.groups is None else self.groups[keep]
        return TrainingData(
            self.store, self.rows[keep], part.targets(), part.mask(), tuple(part.table["image"]), groups
        )

    def in_split(self, split: str) -> RowMask:
        """Which images belong to a split."""
        return (self.cohort.table["split"] == split).to_numpy()


def prepare(settings: ExperimentSettings, folder: Path, progress: Progress) -> Prepared:
    """Load, split and decode.

    Args:
        settings: the experiment.
        folder: where the store is built.
        progress: told while images are decoded.

    Raises:
        CohortError: the table does not fit, or a split is empty.
        LeakError: patients are shared between splits, or nobody can tell.
        DataError: more images are unreadable than allowed.
        OutputError: the store does not fit its budget or the disk.
        SettingsError: there is no attribute `training.group`.
    """
    cohort = load_cohort(settings.cohort)
    cohort = split_cohort(cohort, settings.split)
    store = Store.build(
        cohort.paths,
        settings.recipe,
        folder,
        max_bytes=int(settings.store.max_gb * 1e9),
        workers=settings.store.workers or None,
        max_failed_share=settings.store.max_failed_share,
        progress=lambda done, total: progress("decode", done, total, ""),
    )
    readable = np.ones(len(cohort), dtype=bool)
    readable[list(store.errors)] = False
    names = cohort.table["image"].to_numpy()
    excluded = pd.DataFrame(
        [(names[row], reason) for row, reason in sorted(store.errors.items())], columns=["image", "reason"]
    )
    usable = cohort.rows(readable)
    for split in SPLITS[:2]:
        if split not in set(usable.table["split"]):
            raise CohortError(f"the {split} split is empty", where=cohort.name, fix="Change the [split] section.")
    groups = _groups(settings.training.group, usable)
    return Prepared(usable, store, np.flatnonzero(readable), excluded, len(cohort), groups)


def _groups(attribute: str, cohort: Cohort) -> Int[np.ndarray, " N"] | None:
    """Groups of an attribute; images for which it is not known are a group of their own, the last."""
    if not attribute:
        return None
    (grouping,) = make_groupings(cohort.table, [attribute])
    return np.where(grouping.index < 0, len(grouping.groups), grouping.index)


def smoke(settings: ExperimentSettings) -> ExperimentSettings:
    """The same experiment small enough to run in seconds: to see that everything fits together."""
    training = settings.training.model_copy(update={"epochs": 1, "batch_size": min(settings.training.batch_size, 16)})
    size = tuple(min(side, 64) for side in settings.recipe.size_px)
    return settings.model_copy(
        update={
            "training": training,
            "recipe": settings.recipe.model_copy(update={"size_px": size}),
            "evaluation": settings.evaluation.model_copy(update={"bootstrap": 50}),
            "report": settings.report.model_copy(update={"examples": min(settings.report.examples, 4)}),
        }
    )
