"""Reading a cohort: any folder of classes, or any table that lists images and labels."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from resight.cohorts.columns import TEXT_COLUMNS, canonical_columns, is_split_name
from resight.cohorts.labels import Labelled, read_labels
from resight.cohorts.locate import find_images
from resight.cohorts.modalities import named_by_modalities, with_files
from resight.cohorts.options import CohortOptions
from resight.cohorts.survival import interval_names, read_survival
from resight.errors import CohortError, similar_path
from resight.imaging import list_images
from resight.imaging.sniff import calls_itself_image
from resight.tables import read_table
from resight.types import RESERVED_COLUMNS, Cohort

_USUAL_TABLES = ("cohort.csv", "index.csv")
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
_SHOWN = 3
"""How many examples a message names."""


def load_cohort(options: CohortOptions) -> Cohort:
    """Read a cohort.

    A folder is read through its `cohort.csv` or `index.csv`, or through its only table where it has no two subfolders;
    otherwise as one subfolder per class, perhaps below `train`, `validation` and `test`.

    Args:
        options: what to read and how; what was guessed is recorded in the notes of the cohort.

    Returns:
        The cohort, in the order of the table (or sorted by path); duplicate rows are dropped.

    Raises:
        CohortError: the table or folder cannot be used; the message says why and where.
        SettingsError: the label map is wrong.
    """
    path = options.path
    if not path.exists():
        raise CohortError("no such file or folder", where=str(path), fix=similar_path(path))
    if path.is_file() and calls_itself_image(path):
        raise CohortError("an image", where=str(path), expected="a table, or a folder with one subfolder per class")
    table_path = path if path.is_file() else _table_in(path)
    if table_path is None:
        table, root, notes = _read_folder(path)
    else:
        table, notes = _read_rows(table_path, options)
        root = options.images or table_path.parent
    where = str(table_path or path)
    if options.patient_pattern:
        table["patient_id"] = _patients(table["image"], options.patient_pattern, where)
    horizons: tuple[float, ...] = ()
    if options.time_column is not None:
        table, horizons = read_survival(table, options, where)
        found = Labelled(table[list(interval_names(horizons))], "multilabel", ())
    else:
        found = read_labels(table, options, where)
    attributes = table.drop(columns=[*found.consumed, *(c for c in RESERVED_COLUMNS if c in table)])
    attributes = attributes.drop(columns=[c for c in attributes if c in found.values])
    reserved = [c for c in RESERVED_COLUMNS if c in table]
    labels = tuple(map(str, found.values))
    notes = [*notes, *found.notes]
    table = pd.concat([table[reserved], found.values, attributes], axis=1)
    if table_path is not None:
        table, root = _with_images(table, root, options, where, notes)
        table = with_files(table, root, options, where, notes)
    table = _without_duplicates(table, [*reserved, *labels], where, notes)
    name = options.name or (path.parent if path.is_file() else path).resolve().name
    return Cohort(
        table.reset_index(drop=True), labels, found.task, root, name, tuple(notes), options.modalities, horizons
    )


def _table_in(folder: Path) -> Path | None:
    tables = {p.name: p for p in sorted(folder.iterdir()) if p.is_file() and p.name.lower().endswith(_TABLE_SUFFIXES)}
    if usual := next((tables[name] for name in _USUAL_TABLES if name in tables), None):
        return usual
    subfolders = sum(p.is_dir() for p in folder.iterdir())
    return next(iter(tables.values())) if len(tables) == 1 and subfolders < 2 else None


def _read_rows(path: Path, options: CohortOptions) -> tuple[pd.DataFrame, list[str]]:
    chosen = (options.image_column, options.patient_column, options.split_column, options.label_column)
    text_columns = (*TEXT_COLUMNS, *filter(None, chosen), *options.modalities)
    table = read_table(path, error=CohortError, text_columns=text_columns)
    if table.empty:
        raise CohortError("the table has no rows", where=str(path))
    if options.modalities:
        table = named_by_modalities(table, options, str(path))
    return canonical_columns(table, options, str(path))


def _read_folder(folder: Path) -> tuple[pd.DataFrame, Path, list[str]]:
    images = [path.relative_to(folder).as_posix() for path in list_images(folder)]
    if not images:
        expected = "DICOM, NIfTI, PNG, JPEG, TIFF or BMP"
        raise CohortError("no images below this folder", where=str(folder), expected=expected)
    table = pd.DataFrame({"image": images})
    parts = table["image"].str.split("/")
    depth = 1 if parts.str[0].map(is_split_name).all() else 0
    if depth:
        table = canonical_columns(table.assign(split=parts.str[0]), CohortOptions(path=folder), str(folder))[0]
    if (parts.str.len() < depth + 2).any():
        stray = table["image"][parts.str.len() < depth + 2]
        raise CohortError(
            f"{len(stray)} images are in no class folder (the first: {stray.iloc[0]})",
            where=str(folder),
            expected="CLASS/IMAGE, or SPLIT/CLASS/IMAGE",
            fix="Give a table of images and labels instead.",
        )
    table["class"] = parts.str[depth]
    return table, folder, ["Classes are the names of the folders; no patient is known."]


def _patients(images: pd.Series[str], pattern: str, where: str) -> pd.Series[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CohortError(f"patient_pattern is not a regular expression ({error})", where=where) from error
    if compiled.groups < 1:
        raise CohortError("patient_pattern has no group", where=where, expected=r"for example '(person\d+)'")
    patients = images.str.extract(compiled)[0]
    if patients.isna().any():
        first = images[patients.isna()].iloc[0]
        raise CohortError(f"patient_pattern does not match {int(patients.isna().sum())} images ({first})", where=where)
    return patients


def _without_duplicates(table: pd.DataFrame, told: list[str], where: str, notes: list[str]) -> pd.DataFrame:
    """Drop rows that repeat an image; repeating it with another label, patient or split is an error."""
    repeated = table.duplicated("image")
    if not repeated.any():
        return table
    distinct = table[table["image"].isin(table.loc[repeated, "image"])].drop_duplicates(told)
    if (conflicts := distinct.loc[distinct.duplicated("image"), "image"].unique()).size:
        one = distinct[distinct["image"] == conflicts[0]]
        column = next(c for c in told if one[c].nunique(dropna=False) > 1)
        values = " and ".join(str(v) for v in one[column].unique()[:2])
        raise CohortError(
            f"{len(conflicts)} images are listed with different values (first: {conflicts[0]}, {column} {values})",
            where=where,
            fix="Keep one row per image.",
        )
    notes.append(f"{int(repeated.sum())} rows repeat an image and were dropped.")
    return table[~repeated]


def _with_images(
    table: pd.DataFrame, root: Path, options: CohortOptions, where: str, notes: list[str]
) -> tuple[pd.DataFrame, Path]:
    if options.images and not options.images.is_dir():
        raise CohortError("no such folder of images", where=str(options.images), fix=similar_path(options.images))
    root, found, moved = find_images(table["image"], [root, root / "images"])
    absent = table["image"][found == ""]
    if moved:
        notes.append(f"{moved} images were found below {root.resolve().name} by file name, not where the table says.")
    if len(absent):
        examples = ", ".join(absent.iloc[:_SHOWN])
        found_none = f"{len(absent)} of {len(table)} listed images are not there: {examples}"
        if options.missing_images == "error" or (options.missing_images == "drop" and len(absent) == len(table)):
            raise CohortError(
                found_none + (", ..." if len(absent) > _SHOWN else ""),
                where=where,
                fix="Set images to their folder, or missing_images to 'drop'.",
            )
        action = {"drop": "their rows were dropped", "keep": "their rows were kept"}[options.missing_images]
        notes.append(f"{found_none}; {action}.")
    table = table.assign(image=found.where(found != "", table["image"]))
    return (table[found != ""] if options.missing_images == "drop" else table), root
