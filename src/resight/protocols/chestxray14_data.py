"""The files of ChestX-ray14 as NIH publishes them: what is there, what is missing, and how to go on without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from resight.cohorts import load_boxes, load_chestxray14
from resight.errors import CohortError
from resight.types import Cohort

ImagesWanted = Literal["all", "present", "none"]
ARCHIVES = tuple(f"images_{number:03d}" for number in range(1, 13))
"""The parts NIH publishes the images in."""

_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_LISTS = ("train_val_list.txt", "test_list.txt")
_BOXES = "BBox_List_2017.csv"
_WHERE = "They belong to the release 'ChestX-ray14' (CXR8) of the NIH Clinical Center"
_SHOWN = 3


def load_tables(folder: Path, *, needs_lists: bool) -> Cohort:
    """The whole label table with the official split, without looking for images.

    Args:
        folder: holds the label table and the two lists, also gzipped.
        needs_lists: whether the official split is asked for.

    Raises:
        CohortError: files are missing.
    """
    missing = [] if _any(folder, *_TABLES) else [" or ".join(_TABLES)]
    if needs_lists:
        missing += [name for name in _LISTS if not _any(folder, name)]
    if missing:
        raise CohortError(
            f"{', '.join(missing)} not there",
            where=str(folder),
            fix=f"{_WHERE}; --option tables=DIR names the folder they lie in, and without the lists --option "
            'splits=["resampled"] goes on.',
        )
    return load_chestxray14(folder)


def load_images(data: Path, tables: Path, wanted: ImagesWanted) -> Cohort | None:
    """The rows whose image is there.

    Args:
        data: folder of the images, in `images_001/images` ..., in `images`, or anywhere below.
        tables: folder of the label table and lists.
        wanted: `all` insists on every image, `present` takes those that are there, `none` does without images.

    Returns:
        The cohort; None where no images are wanted.

    Raises:
        CohortError: images are missing.
    """
    if wanted == "none":
        return None
    try:
        cohort = load_chestxray14(tables, images=data, missing_images="drop")
    except CohortError as error:
        fix = f"{_WHERE}; with --option images=none the label table alone is studied."
        raise CohortError(error.found, where=str(data), expected=error.expected, fix=fix) from error
    absent = next((note for note in cohort.notes if "images are not there" in note), None)
    if absent and wanted == "all":
        there = {path.name for path in data.iterdir()}
        lacking = [name for name in ARCHIVES if name not in there] if there & set(ARCHIVES) else []
        parts = f" (no folder {', '.join(lacking[:_SHOWN])}{', ...' if len(lacking) > _SHOWN else ''})"
        raise CohortError(
            absent.split(";")[0] + (parts if lacking else ""),
            where=str(data),
            expected=f"the twelve archives {ARCHIVES[0]} to {ARCHIVES[-1]}",
            fix=f"{_WHERE}; --option images=present goes on with those that are there.",
        )
    columns = ["image", "patient_id", *(c for c in ("split",) if c in cohort.table), *cohort.labels]
    return replace(cohort, table=cohort.table[[*columns, "age", "sex", "view"]])


def find_boxes(tables: Path) -> pd.DataFrame | None:
    """The boxes of the radiologists; None where their table is not there."""
    return load_boxes(tables) if _any(tables, _BOXES) else None


def _any(folder: Path, *names: str) -> bool:
    return any((folder / (name + ending)).is_file() for name in names for ending in ("", ".gz"))
