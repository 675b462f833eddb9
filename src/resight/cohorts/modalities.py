"""Rows with several images: one column of file names for each modality, blank where a patient lacks it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from resight.cohorts.columns import as_text
from resight.cohorts.locate import find_images
from resight.cohorts.options import CohortOptions
from resight.errors import CohortError, nearest


def named_by_modalities(table: pd.DataFrame, options: CohortOptions, where: str) -> pd.DataFrame:
    """A table whose rows are called by the first image there is, unless a column for that was chosen.

    Raises:
        CohortError: a modality has no column, or a row has no image at all.
    """
    for name in options.modalities:
        if name not in table.columns:
            fix = nearest(name, map(str, table.columns))
            raise CohortError(f"no column {name!r} of image names", where=where, fix=fix)
    names = pd.DataFrame({name: as_text(table[name]).str.replace("\\", "/") for name in options.modalities})
    empty = (names == "").all(axis=1)
    if empty.any():
        row = int(empty.to_numpy().argmax())
        found = f"{int(empty.sum())} rows name no image of any modality (the first is data row {row + 1})"
        raise CohortError(found, where=where)
    table = table.copy()
    table[names.columns] = names
    first = names.apply(lambda row: next(name for name in row if name), axis=1)
    return table if options.image_column else table.assign(image=first)


def with_files(table: pd.DataFrame, root: Path, options: CohortOptions, where: str, notes: list[str]) -> pd.DataFrame:
    """The same table with every modality's files found below the root.

    Raises:
        CohortError: a file is not there, and missing images are an error.
    """
    for name in options.modalities:
        given = table[name] != ""
        _, found, _ = find_images(table.loc[given, name], [root])
        absent = table.loc[given, name][found == ""]
        if len(absent):
            lost = f"{len(absent)} of {int(given.sum())} images of {name!r} are not there: {absent.iloc[0]}"
            if options.missing_images == "error":
                fix = "Leave the cell blank where a patient lacks the image, or set missing_images to 'keep'."
                raise CohortError(lost, where=where, fix=fix)
            notes.append(f"{lost}; they count as missing.")
        table = table.assign(**{name: table[name].where(~given, found.reindex(table.index).fillna(""))})
        if blank := int((table[name] == "").sum()):
            notes.append(f"{blank} of {len(table)} rows have no image of {name!r}.")
    return table
