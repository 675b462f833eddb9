"""Names that public data sets give the same column, and the values they write into it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from resight.cohorts.options import CohortOptions
from resight.errors import CohortError, nearest
from resight.tables import column_key

ALIASES: dict[str, tuple[str, ...]] = {
    "image": (
        *("image", "file", "path", "filename", "file_path", "image_path", "image_file", "image_name"),
        *("image_index", "image_id", "img", "img_path", "dicom", "dicom_path"),
    ),
    "patient_id": ("patient_id", "patient", "patient_number", "subject_id", "subject", "pid", "participant_id"),
    "split": ("split", "subset", "partition", "dataset_split"),
    "age": ("age", "patient_age", "age_years", "age_approximate", "age_approx"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender"),
    "view": ("view", "view_position", "projection"),
    "site": ("site", "hospital", "centre", "center", "institution"),
}
"""Canonical column -> the spellings it is found by, best first; compared by `column_key`."""

TEXT_COLUMNS = (*ALIASES["image"], *ALIASES["patient_id"], *ALIASES["split"])
"""Columns that are read as text, so that identifiers keep their leading zeros."""

_SPLITS = {
    **dict.fromkeys(("train", "training", "tr", "development"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "tuning"), "validation"),
    **dict.fromkeys(("test", "testing", "ts", "holdout"), "test"),
}
_SEXES = {**dict.fromkeys(("m", "male", "man"), "M"), **dict.fromkeys(("f", "female", "w", "woman"), "F")}
_OLDEST_YEARS = 120
"""Nobody is older; ChestX-ray14's first label file says 411 for 41."""
_PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52.18, "D": 365.25}
"""Units of a DICOM age string (PS3.5 section 6.2, value representation AS)."""


def canonical_columns(table: pd.DataFrame, options: CohortOptions, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Rename the columns that mean something to their canonical names and clean their values.

    Args:
        table: as it was read.
        options: may name columns, which then must exist.
        where: the file, for messages.

    Returns:
        The table with `image` and, where known, `patient_id`, `split`, `age`, `sex`, `view` and `site`; and one note
        for each thing that was done.

    Raises:
        CohortError: a named column does not exist, there is no image column, or a value makes no sense.
    """
    chosen = {"image": options.image_column, "patient_id": options.patient_column, "split": options.split_column}
    used = set(options.labels or ()) | {options.label_column}
    renamed: dict[str, str] = {}
    for target in ALIASES:
        source = chosen.get(target) or _find(table, ALIASES[target], used)
        if source and source not in table.columns:
            raise CohortError(f"no column {source!r}", where=where, fix=nearest(source, map(str, table.columns)))
        if source:
            renamed[source] = target
            used.add(source)
    if "image" not in renamed.values():
        raise CohortError(
            "no column with image names",
            where=where,
            expected=f"one of {', '.join(ALIASES['image'][:6])}",
            fix=f"Name it with image_column; columns: {', '.join(map(str, table.columns))}.",
        )
    displaced = [new for old, new in renamed.items() if old != new and new in table.columns]
    table = table.rename(columns={name: f"{name} (other)" for name in displaced}).rename(columns=renamed)
    different = {old: new for old, new in renamed.items() if old != new}
    notes = [f"Columns were recognised: {', '.join(f'{old} = {new}' for old, new in different.items())}."]
    return _clean(table, where, notes if different else [])


def split_names(values: pd.Series[str], where: str) -> pd.Series[str]:
    """`train`, `validation` or `test` for each of the words people use for them.

    Raises:
        CohortError: a word that is none of them, or a blank.
    """
    words = values.fillna("").astype(str).str.strip().str.casefold()
    names = words.map(_SPLITS)
    if names.isna().any():
        wrong = words[names.isna()]
        raise CohortError(
            f"{len(wrong)} rows have the split {wrong.iloc[0]!r}", where=where, expected="train, validation or test"
        )
    return names


def is_split_name(word: str) -> bool:
    """Whether a word names a split."""
    return word.strip().casefold() in _SPLITS


def as_text(values: pd.Series[Any]) -> pd.Series[str]:
    """Values as stripped text, whole numbers without `.0`, missing ones empty."""
    if pd.api.types.is_float_dtype(values.dtype) and bool((values.dropna() % 1 == 0).all()):
        return values.astype("Int64").astype("string").fillna("").astype(object)
    return values.astype(object).where(values.notna(), "").astype(str).str.strip()


def _find(table: pd.DataFrame, aliases: tuple[str, ...], used: set[str | None]) -> str | None:
    by_key = {column_key(str(name)): str(name) for name in reversed(table.columns) if name not in used}
    return next((by_key[key] for key in map(column_key, aliases) if key in by_key), None)


def _clean(table: pd.DataFrame, where: str, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    images = as_text(table["image"]).str.replace("\\", "/")
    if (images == "").any():
        first = int(np.flatnonzero(images == "")[0])
        raise CohortError(f"{(images == '').sum()} rows name no image (the first is data row {first + 1})", where=where)
    table = table.assign(image=images)
    if "patient_id" in table:
        patients = as_text(table["patient_id"])
        if (patients == "").all():
            table = table.drop(columns="patient_id")
            notes.append("The column of patient ids is empty: no patient is known.")
        else:
            table["patient_id"] = patients
            if blank := int((patients == "").sum()):
                notes.append(f"{blank} images have no patient id.")
    if "split" in table:
        table["split"] = split_names(table["split"], where)
    if "age" in table:
        table["age"], lost = _ages(table["age"])
        if lost:
            notes.append(f"{lost} ages are not numbers between 0 and {_OLDEST_YEARS} and count as not known.")
    if "sex" in table:
        table["sex"] = as_text(table["sex"]).str.casefold().map(_SEXES).astype(object)
    return table, notes


def _ages(values: pd.Series[str]) -> tuple[pd.Series[float], int]:
    text = as_text(values).str.upper()
    parts = text.str.extract(re.compile(r"^(\d+(?:\.\d+)?)([YMWD]?)$"))
    years = pd.to_numeric(parts[0]) / parts[1].map(_PER_YEAR)
    years = years.where(years <= _OLDEST_YEARS)
    known = ~text.isin(["", "UNKNOWN", "NAN", "U"])
    return years, int((known & years.isna()).sum())
