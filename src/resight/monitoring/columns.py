"""Which columns of a predictions table are watched, one row a patient: numbers by value, all else by category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from resight.imaging import TONES
from resight.predictions import FEATURE, NOVELTY, Predictions

_FEW_VALUES = 6
"""A numeric column with at most so many different values is watched as categories."""
_MOST_CATEGORIES = 20
"""Text with more different values is a name or a date and is not watched."""
_DIGITS = 5
_SCORE = "score of "
_NOT_WATCHED = ("image", "patient_id", "split", "fold")
NOT_KNOWN = "not known"


def first_images(predictions: Predictions) -> Predictions:
    """The first image of every patient: images of one patient do not arrive independently of each other."""
    first = ~pd.Series(predictions.groups()).duplicated().to_numpy()
    keep = np.repeat(first, len(predictions.labels))
    table = predictions.table.loc[keep].reset_index(drop=True)
    return Predictions(table, predictions.labels, predictions.task)


def watched(predictions: Predictions) -> pd.DataFrame:
    """Columns that are watched: the score of every label, and every attribute that is a number or has few values.

    Args:
        predictions: one image a patient.

    Returns:
        One row an image: floats, or text with `not known` where nothing is known.
    """
    scores = predictions.probabilities()
    columns: dict[str, Any] = {f"{_SCORE}{label}": scores[:, column] for column, label in enumerate(predictions.labels)}
    images = predictions.images()
    if "alerts" in images:
        columns["alert"] = np.where(images["alerts"].fillna("").astype(str) != "", "yes", "no")
    for name in images.columns:
        if name in _NOT_WATCHED or name == "alerts":
            continue
        values = images[name]
        numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
        if numeric and values.nunique() > _FEW_VALUES:
            columns[str(name)] = values.to_numpy(dtype=np.float64)
        elif values.nunique() <= _MOST_CATEGORIES and values.notna().any():
            columns[str(name)] = as_categories(values)
    return pd.DataFrame(columns)


def is_output(name: str) -> bool:
    """Whether a column is a score or a tone of an image."""
    return name.startswith(_SCORE) or name in TONES


def is_feature(name: str) -> bool:
    """Whether a column says where an image lies among the network's features."""
    return name == NOVELTY or name.startswith(FEATURE)


def as_categories(values: pd.Series[Any]) -> pd.Series[str]:
    """Values as text, whole numbers without `.0`."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.map(lambda value: f"{value:g}", na_action="ignore").fillna(NOT_KNOWN).astype(str)
    return values.map(lambda value: str(value).strip(), na_action="ignore").fillna(NOT_KNOWN).replace("", NOT_KNOWN)


def rounded(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Five significant digits: what a reference keeps, so that equal values stay equal on both sides."""
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values.tolist()])


def aligned(table: pd.DataFrame, numbers: Mapping[str, object], categories: Mapping[str, object]) -> pd.DataFrame:
    """A watched table in the types of a reference: a column that was numbers there is numbers here."""
    found = pd.DataFrame(index=table.index)
    for name in numbers:
        if name in table:
            found[name] = rounded(pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64))
    for name in categories:
        if name in table:
            found[name] = as_categories(table[name])
    return found
