"""What incoming cases are compared with: a compact memory of held-out predictions, kept in the bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from resight.errors import PredictionsError
from resight.evaluation import slope_and_intercept
from resight.evaluation.resampling import patient_index
from resight.evaluation.rows import hard_mask
from resight.monitoring.columns import first_images, is_feature, is_output, rounded, watched
from resight.predictions import Predictions
from resight.settings import Options, validate

_MOST_ROWS = 500
"""Rows that are kept: a two-sample test gains little from more, and a bundle stays small (about 10 kB a column)."""
_FEWEST = 20
"""With fewer patients a reference says too little to compare with."""


class CalibrationReference(Options):
    """Calibration-in-the-large of one label when the reference was made; its 95 % interval."""

    value: float = Field(description="intercept of a logistic regression with slope 1; 0 is right")
    low: float
    high: float


class Reference(Options):
    """A compact memory of what a model saw and said when it was judged; one image a patient.

    Scores, features and properties of images stand row by row; every attribute is sorted on its own.
    """

    labels: tuple[str, ...] = Field(min_length=1, description="labels of the model")
    rows: int = Field(ge=1, description="rows kept")
    patients: int = Field(ge=1, description="patients they were drawn from")
    chosen_on: str = Field(default="", description="split they come from")
    numbers: dict[str, tuple[float | None, ...]] = Field(description="columns of numbers; None where not known")
    categories: dict[str, tuple[str, ...]] = Field(description="columns of categories")
    calibration: dict[str, CalibrationReference] = Field(default={}, description="by label, where estimable")

    def table(self) -> pd.DataFrame:
        """Columns as they were watched."""
        numbers = {name: np.array(values, dtype=np.float64) for name, values in self.numbers.items()}
        return pd.DataFrame({**numbers, **{name: list(values) for name, values in self.categories.items()}})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(mode="json")


def fit_reference(predictions: Predictions, *, seed: int = 0) -> Reference:
    """Remember held-out predictions.

    Args:
        predictions: a table with a split keeps its test rows, without test its validation rows, else all rows; images
            without a score are left out.
        seed: of the draw, where there are more patients than are kept.

    Raises:
        PredictionsError: fewer than 20 patients have a score.
    """
    part, chosen_on = _held_out(predictions)
    scored = np.repeat(~np.isnan(part.array("score")).any(axis=1), len(part.labels))
    part = Predictions(part.table.loc[scored].reset_index(drop=True), part.labels, part.task)
    single = first_images(part)
    if len(single) < _FEWEST:
        raise PredictionsError(f"{len(single)} patients with a score", expected=f"at least {_FEWEST} for a reference")
    table = watched(single)
    rows = np.random.default_rng(seed).permutation(len(table))[:_MOST_ROWS]
    kept = table.iloc[rows].reset_index(drop=True)
    for name in kept:
        if not (is_output(str(name)) or is_feature(str(name))):  # a bundle travels: no row of it is a patient's record
            kept[name] = kept[name].sort_values(ignore_index=True)
    numeric = [str(name) for name in kept if pd.api.types.is_numeric_dtype(kept[name].dtype)]
    return Reference(
        labels=part.labels,
        rows=len(kept),
        patients=len(single),
        chosen_on=chosen_on,
        numbers={
            name: tuple(None if np.isnan(value) else float(value) for value in rounded(kept[name].to_numpy()))
            for name in numeric
        },
        categories={str(name): tuple(map(str, kept[name])) for name in kept if str(name) not in numeric},
        calibration=calibration_of(part),
    )


def calibration_of(predictions: Predictions) -> dict[str, CalibrationReference]:
    """Calibration-in-the-large of every label with outcomes, over all images, with intervals by patient."""
    if not predictions.has("target"):
        return {}
    mask, targets, probabilities = hard_mask(predictions), predictions.targets(), predictions.probabilities()
    if np.any((probabilities[mask] < 0) | (probabilities[mask] > 1)):
        return {}
    patients = patient_index(predictions.groups())[0]
    found: dict[str, CalibrationReference] = {}
    for column, label in enumerate(predictions.labels):
        rows = mask[:, column] & ~np.isnan(probabilities[:, column])
        value = slope_and_intercept(targets[rows, column], probabilities[rows, column], patients[rows])
        intercept = value["calibration_intercept"]
        if not np.isnan(intercept.low):
            found[label] = CalibrationReference(value=intercept.value, low=intercept.low, high=intercept.high)
    return found


def read_reference(path: Path) -> Reference:
    """Read a reference file, or make one of a predictions table.

    Raises:
        PredictionsError: the file is neither.
        SettingsError: a reference with an unknown key or an impossible value.
    """
    if path.suffix != ".json":
        return fit_reference(Predictions.read(path))
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PredictionsError(f"cannot be read as a reference ({error})", where=str(path)) from error
    if not isinstance(data, dict):
        raise PredictionsError("no reference", where=str(path), expected="a JSON object")
    return validate(Reference, data, where=str(path))


def _held_out(predictions: Predictions) -> tuple[Predictions, str]:
    if "split" in predictions.table.columns:
        for split in ("test", "validation"):
            part = predictions.part(split=split)
            if len(part) and part.has("score"):
                return part, split
    return predictions, ""
