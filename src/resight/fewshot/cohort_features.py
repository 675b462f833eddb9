"""Features of a cohort by the network of a bundle: what all few-shot and zero-shot methods start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from resight.errors import CohortError, ImageError
from resight.fewshot.base import Features
from resight.models import Predictor
from resight.types import Cohort, PreparedImage, Progress, RowMask, Targets, silent

_BATCH = 32
_HELD_OUT = "test"


@dataclass(frozen=True)
class CohortFeatures:
    """Features with what is known of each image.

    Attributes:
        features: `(N, F)`.
        cohort: the N images that could be read.
        failed: how many could not.
    """

    features: Features
    cohort: Cohort
    failed: int

    @property
    def patients(self) -> Shaped[np.ndarray, " N"]:
        """Patient of every image; the image itself where none is given."""
        return patients_of(self.cohort)

    @property
    def held_out(self) -> RowMask:
        """Images of the test split; all of them where the cohort has none."""
        return held_out_of(self.cohort)

    def targets(self) -> Targets:
        """`(N, L)`; NaN where not known."""
        return self.cohort.targets()

    def classes(self) -> Int[np.ndarray, " N"]:
        """As `classes_of`."""
        return classes_of(self.cohort)


def patients_of(cohort: Cohort) -> Shaped[np.ndarray, " N"]:
    """Patient of every image; the image itself where none is given."""
    table = cohort.table
    column = "patient_id" if "patient_id" in table.columns else "image"
    return table[column].astype(str).to_numpy(dtype=object)


def held_out_of(cohort: Cohort) -> RowMask:
    """Images of the test split; all of them where the cohort has none."""
    table = cohort.table
    if "split" not in table.columns or not (table["split"] == _HELD_OUT).any():
        return np.ones(len(table), dtype=bool)
    return (table["split"] == _HELD_OUT).to_numpy()


def classes_of(cohort: Cohort) -> Int[np.ndarray, " N"]:
    """Class of each image; -1 where it is not known or an image has several labels.

    Binary cohorts have the classes absent (0) and present (1); multilabel ones take the images with one finding.
    """
    targets = cohort.targets()
    if cohort.task == "binary":
        return np.where(np.isnan(targets[:, 0]), -1, np.nan_to_num(targets[:, 0]) > 0.5).astype(int)
    one = (np.nan_to_num(targets) > 0.5).sum(axis=1) == 1
    return np.where(one, np.nan_to_num(targets).argmax(axis=1), -1)


def cohort_features(predictor: Predictor, cohort: Cohort, progress: Progress = silent) -> CohortFeatures:
    """Features of every image of a cohort by the network of a bundle.

    Args:
        predictor: of the bundle; its recipe prepares the images.
        cohort: which images.
        progress: told after every batch.

    Raises:
        CohortError: none of the images can be read.
    """
    return embed_cohort(cohort, predictor.prepare, predictor.features, progress)


def embed_cohort(
    cohort: Cohort,
    prepare: Callable[[Path], PreparedImage],
    embed: Callable[[Shaped[np.ndarray, "B C *space"]], Features],
    progress: Progress,
) -> CohortFeatures:
    """Read, prepare and embed every image of a cohort.

    Args:
        cohort: which images.
        prepare: reads one; an `ImageError` leaves it out.
        embed: gives `(B, F)` of a batch.
        progress: told after every batch.

    Raises:
        CohortError: none of the images can be read.
    """
    readable = np.zeros(len(cohort), dtype=bool)

    def prepared() -> Iterator[PreparedImage]:
        for row, path in enumerate(cohort.paths):
            try:
                image = prepare(path)
            except ImageError:
                continue
            readable[row] = True
            yield image

    images, found = prepared(), list[Features]()
    while batch := list(islice(images, _BATCH)):
        found.append(embed(np.stack(batch)))
        progress("embed", int(readable.sum()), len(cohort), "")
    if not found:
        raise CohortError(f"none of {len(cohort)} images can be read", where=cohort.name)
    features = np.concatenate(found).astype(np.float64)
    return CohortFeatures(features, cohort.rows(readable), int(len(cohort) - readable.sum()))
