"""ISIC-2017 part 3 (Codella et al., ISBI 2018): dermoscopy of melanoma, seborrheic keratosis and nevus.

Read as the challenge publishes it, or from one table `index.csv` beside the images. What the files hide: a nevus is
where both columns are 0; the folders also hold `_superpixels.png`; age and sex may be `unknown`; nobody publishes which
images show one patient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from resight.errors import CohortError, nearest
from resight.tables import read_table
from resight.types import Cohort

ISIC_LABELS: Final = ("melanoma", "seborrheic_keratosis", "nevus")
"""The two classes of the challenge in its order, then the rest."""

_WHERE: Final = "Data and labels are published by the ISIC Archive as ISIC Challenge 2017, part 3."
_PARTS: Final = {"train": "Training", "validation": "Validation", "test": "Test_v2"}
_SPLIT_NAMES: Final = {"val": "validation", "valid": "validation", "training": "train"}
_INDEX: Final = "index.csv"


def load_isic2017(folder: Path, *, missing_images: Literal["drop", "error"] = "error") -> Cohort:
    """Read the cohort with its official split.

    Args:
        folder: holds `index.csv` (columns `file`, `split`, `melanoma`, `seborrheic_keratosis`, and perhaps
            `age_approximate` and `sex`), or the challenge's `ISIC-2017_<part>_Data` folders and
            `ISIC-2017_<part>_Part3_GroundTruth.csv` tables for the parts Training, Validation and Test_v2. Parts
            other than Training may be absent, and so may the table of labels of the test part.
        missing_images: `drop` the rows of images that are not there, or `error`.

    Returns:
        One-hot labels in the order of `ISIC_LABELS`, NaN where no label is published; `split`, `age` in years and
        `sex` (`male`, `female`; NaN where not known). No `patient_id`: it is not published.

    Raises:
        CohortError: neither layout is there, a column or an image is missing, or an image is of both classes.
    """
    table = _from_index(folder) if (folder / _INDEX).is_file() else _from_challenge(folder)
    both = (table["melanoma"] > 0) & (table["seborrheic_keratosis"] > 0)
    if both.any():
        raise CohortError(f"{table['image'][both].iloc[0]} is of two classes", where=str(folder), expected="one class")
    table["nevus"] = 1.0 - table["melanoma"] - table["seborrheic_keratosis"]
    notes = ["No patient identifiers are published: images of one patient may be in several splits."]
    table = _present(table, folder, missing_images, notes)
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    table["sex"] = table["sex"].astype(object).where(table["sex"].isin(["male", "female"]), np.nan)
    unlabelled = int(table["nevus"].isna().sum())
    if unlabelled:
        notes.append(f"{unlabelled} images have no published label.")
    columns = ["image", "split", *ISIC_LABELS, "age", "sex"]
    return Cohort(table[columns].reset_index(drop=True), ISIC_LABELS, "multiclass", folder, "isic2017", tuple(notes))


def _present(table: pd.DataFrame, folder: Path, missing_images: str, notes: list[str]) -> pd.DataFrame:
    there = np.array([(folder / name).is_file() for name in table["image"]])
    if there.all():
        return table
    absent = f"{int((~there).sum())} of {len(table)} images are not there ({table['image'][~there].iloc[0]})"
    lacking = [split for split in ("train", "validation") if not there[(table["split"] == split).to_numpy()].any()]
    if missing_images == "error" or lacking:
        expected = f"images of {' and '.join(lacking)}" if lacking else "all of them"
        raise CohortError(absent, where=str(folder), expected=expected, fix=_WHERE)
    notes.append(f"{absent}; their rows were dropped.")
    return table[there]


def _from_index(folder: Path) -> pd.DataFrame:
    path = folder / _INDEX
    table = read_table(path, error=CohortError, text_columns=("file", "split"))
    _need(table, ("file", "split", *ISIC_LABELS[:2]), path)
    table = table.rename(columns={"file": "image"})
    if table["image"].duplicated().any():
        raise CohortError(f"{table['image'][table['image'].duplicated()].iloc[0]} is listed twice", where=str(path))
    table["split"] = table["split"].replace(_SPLIT_NAMES)
    if unknown := sorted(set(table["split"]) - set(_PARTS)):
        raise CohortError(f"split {unknown[0]!r}", where=str(path), expected=", ".join(_PARTS))
    return _with_attributes(table, path)


def _from_challenge(folder: Path) -> pd.DataFrame:
    parts = [_challenge_part(folder, split, part) for split, part in _PARTS.items()]
    return pd.concat([part for part in parts if part is not None], ignore_index=True)


def _challenge_part(folder: Path, split: str, part: str) -> pd.DataFrame | None:
    images, labels = folder / f"ISIC-2017_{part}_Data", folder / f"ISIC-2017_{part}_Part3_GroundTruth.csv"
    if not images.is_dir():
        if split == "train":
            expected = f"{_INDEX}, or {images.name} and {labels.name}"
            raise CohortError("not the data of ISIC-2017", where=str(folder), expected=expected, fix=_WHERE)
        return None
    names = sorted(path.stem for path in images.glob("ISIC_*.jpg"))
    if not names:
        raise CohortError("no images", where=str(images), expected="ISIC_0000000.jpg and so on")
    table = pd.DataFrame({"image_id": names, "image": [f"{images.name}/{name}.jpg" for name in names], "split": split})
    if labels.is_file():
        truth = _keyed(labels, ISIC_LABELS[:2])
        if strange := sorted(set(truth["image_id"]) ^ set(names)):
            raise CohortError(f"{len(strange)} images have a label or a file only ({strange[0]})", where=str(labels))
        table = table.merge(truth, on="image_id")
    elif split == "test":
        table[list(ISIC_LABELS[:2])] = np.nan
    else:
        raise CohortError("no such file", where=str(labels))
    name = f"{images.name}_metadata.csv"
    described = [path for path in (images / name, folder / name) if path.is_file()]
    if described:
        table = table.merge(_keyed(described[0], ("age_approximate", "sex")), on="image_id", how="left")
    return _with_attributes(table, labels)


def _keyed(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path, error=CohortError, text_columns=("image_id", "sex"))
    _need(table, ("image_id", *columns), path)
    if table["image_id"].duplicated().any():
        raise CohortError("an image is listed twice", where=str(path))
    return table[["image_id", *columns]]


def _with_attributes(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    for label in ISIC_LABELS[:2]:
        table[label] = pd.to_numeric(table[label], errors="coerce")
        if not table[label].dropna().isin([0.0, 1.0]).all():
            raise CohortError(f"{label} holds something else than 0 and 1", where=str(path))
    table["age"] = table.get("age_approximate", np.nan)
    table["sex"] = table.get("sex", np.nan)
    return table


def _need(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    for column in columns:
        if column not in table.columns:
            known = nearest(column, map(str, table.columns))
            raise CohortError(f"no column {column!r}", where=str(path), expected="a table of ISIC-2017", fix=known)
