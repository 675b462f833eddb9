"""Tables at prediction time: clinical columns of images, or all images of a patient, read as a cohort is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from resight.cohorts.columns import TEXT_COLUMNS, canonical_columns
from resight.cohorts.modalities import named_by_modalities, with_files
from resight.cohorts.options import CohortOptions
from resight.errors import CohortError
from resight.tables import read_table


def load_clinical(path: Path) -> pd.DataFrame:
    """Rows with `image` and whatever else is known, columns and values cleaned as in training.

    Raises:
        CohortError: it cannot be read, or no column names images.
    """
    table = read_table(path, error=CohortError, text_columns=TEXT_COLUMNS)
    return canonical_columns(table, CohortOptions(path=path), str(path))[0]


def load_cases(path: Path, modalities: tuple[str, ...]) -> tuple[pd.DataFrame, list[dict[str, Path | None]]]:
    """The same of patients with several images, whose files lie beside the table.

    Args:
        path: table with one column of files for each modality, blank where a patient lacks it.
        modalities: names of these columns.

    Returns:
        The table, `image` being the first file of each row; and for each row its files by modality.

    Raises:
        CohortError: it cannot be read, lacks a modality's column, or a file is not there.
    """
    table = read_table(path, error=CohortError, text_columns=(*TEXT_COLUMNS, *modalities))
    options = CohortOptions(path=path, modalities=modalities)
    table, _ = canonical_columns(named_by_modalities(table, options, str(path)), options, str(path))
    table = with_files(table, path.parent, options, str(path), [])
    root = path.parent
    cases = [{name: root / row[name] if row[name] else None for name in modalities} for row in table.to_dict("records")]
    return table.assign(image=[str(root / name) for name in table["image"]]), cases
