"""Before training: the cohort with its splits, the leak check by identity, and the store of prepared images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from resight.cohorts import load_cohort, split_cohort
from resight.errors import CohortError
from resight.evaluation import GroupRule, make_groupings
from resight.experiments.settings import ExperimentSettings
from resight.multimodal import ClinicalOptions, TableEncoding
from resight.preprocess import Store
from resight.training.data import TrainingData
from resight.types import OUTCOME_COLUMNS, RESERVED_COLUMNS, Cohort, Progress, RowMask

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
        encoding: of the clinical columns, fitted on training rows; None where the model reads none.
        clinical: the encoded columns `(N, T)`.
    """

    cohort: Cohort
    store: Store
    rows: Int[np.ndarray, " N"]
    excluded: pd.DataFrame
    assessed: int
    groups: Int[np.ndarray, " N"] | None = None
    encoding: TableEncoding | None = None
    clinical: Float[np.ndarray, "N T"] | None = None

    def samples(self, keep: RowMask) -> TrainingData:
        """The images where `keep` is true, as training data."""
        part = self.cohort.rows(keep)
        return TrainingData(
            self.store,
            self.rows[keep],
            part.targets(),
            part.mask(),
            tuple(part.table["image"]),
            groups=None if self.groups is None else self.groups[keep],
            table=None if self.clinical is None else self.clinical[keep],
            modalities=max(len(part.modalities), 1),
            spacing_mm=self.store.recipe.spacing_mm,
        )

    def in_split(self, split: str) -> RowMask:
        """Which images belong to a split."""
        return (self.cohort.table["split"] == split).to_numpy()


def prepare(settings: ExperimentSettings, folder: Path, progress: Progress, *, encode: bool = True) -> Prepared:
    """Load, split and decode.

    Args:
        settings: the experiment.
        folder: where the store is built.
        progress: told while images are decoded.
        encode: encode the clinical columns as these rows have them; sites of a federation agree on that together.

    Raises:
        CohortError: the table does not fit, or a split is empty.
        LeakError: patients are shared between splits, or nobody can tell.
        DataError: more images are unreadable than allowed.
        OutputError: the store does not fit its budget or the disk.
        SettingsError: there is no attribute `training.group` or `conformal.group`.
    """
    modalities = tuple(modality.name for modality in settings.recipe.modalities)
    cohort = load_cohort(settings.cohort.model_copy(update={"modalities": modalities}))
    cohort = split_cohort(cohort, settings.split)
    store = Store.build(
        cohort.files,
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
    if settings.conformal.group:  # refused now rather than when the network is trained
        GroupRule.fit(usable.table, settings.conformal.group, settings.conformal.edges)
    groups = _groups(settings.training.group, usable)
    prepared = Prepared(usable, store, np.flatnonzero(readable), excluded, len(cohort), groups)
    if settings.model.clinical is None:
        return prepared
    _check_columns(cohort, settings.model.clinical, settings)
    return _with_table(prepared, settings.model.clinical, settings) if encode else prepared


def _groups(attribute: str, cohort: Cohort) -> Int[np.ndarray, " N"] | None:
    """Groups of an attribute; images for which it is not known are a group of their own, the last."""
    if not attribute:
        return None
    (grouping,) = make_groupings(cohort.table, [attribute])
    return np.where(grouping.index < 0, len(grouping.groups), grouping.index)


def _check_columns(cohort: Cohort, options: ClinicalOptions, settings: ExperimentSettings) -> None:
    told = {*cohort.labels, *RESERVED_COLUMNS, *OUTCOME_COLUMNS, settings.cohort.label_column}
    if answers := [name for name in options.columns if name in told]:
        found = f"{answers[0]!r} is what is to be predicted, or names the row"
        raise CohortError(found, where="model.clinical.columns", expected="attributes of the patient")


def _with_table(prepared: Prepared, options: ClinicalOptions, settings: ExperimentSettings) -> Prepared:
    """Encode the clinical columns; with folds every row outside the test split is learned from."""
    cohort = prepared.cohort
    learned = ~prepared.in_split("test") if settings.folds else prepared.in_split("train")
    encoding = TableEncoding.fit(cohort.table[learned], options, where=cohort.name)
    return replace(prepared, encoding=encoding, clinical=encoding.encode(cohort.table, where=cohort.name))


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
