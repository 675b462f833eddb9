"""The rows of a predictions table that an audit looks at, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from resight.errors import PredictionsError
from resight.evaluation.resampling import patient_index
from resight.evaluation.rows import assumed_decisions, hard_mask, select_split
from resight.fairness.options import WHOLE_TABLE
from resight.predictions import Predictions
from resight.types import Mask, Scores, Targets


@dataclass(frozen=True)
class AuditCases:
    """N images and their L labels.

    Attributes:
        images: one row an image, with attributes.
        labels: names.
        targets: `(N, L)`, 0 or 1 where `mask`.
        mask: where target and score count.
        scores: `(N, L)`.
        probabilities: `(N, L)`; None where the scores are no probabilities.
        decisions: `(N, L)` 0 or 1; None where there are none and none can be made.
        patients: number of each image's patient.
        notes: what was assumed.
    """

    images: pd.DataFrame
    labels: tuple[str, ...]
    targets: Targets
    mask: Mask
    scores: Scores
    probabilities: Scores | None
    decisions: Float[np.ndarray, "N L"] | None
    patients: Int[np.ndarray, " N"]
    notes: tuple[str, ...]

    def known(self, column: int) -> Bool[np.ndarray, " N"]:
        """Images whose label counts."""
        return self.mask[:, column]


def audit_cases(predictions: Predictions, split: str | None) -> AuditCases:
    """Choose and check the rows.

    Args:
        predictions: the whole table.
        split: its name, `all`, or None for the test rows where there are any.

    Raises:
        PredictionsError: no such split, or no row with a target that counts.
    """
    notes: list[str] = []
    if split != WHOLE_TABLE:
        predictions, _, notes = select_split(predictions, split)
    if "target" not in predictions.table.columns or not (mask := hard_mask(predictions)).any():
        raise PredictionsError("no row with a target that counts", expected="a column 'target' with 0 and 1")
    if "patient_id" not in predictions.table.columns:
        notes.append("No patients given: every image counts as a patient, so intervals may be too narrow")
    values = predictions.probabilities()
    probabilities: Scores | None = values
    if np.any((values[mask] < 0) | (values[mask] > 1)):
        probabilities = None
        notes.append("Scores outside 0 to 1 are no probabilities: calibration is not audited")
    decisions = predictions.array("decision") if predictions.has("decision") else None
    if decisions is None:
        assumed = assumed_decisions(predictions, probabilities)
        decisions, note = (None, "No decisions in the table, and no probabilities to make them from")
        if assumed is not None:
            decisions, note = assumed.array, assumed.note
        notes.append(note)
    return AuditCases(
        images=predictions.images(),
        labels=predictions.labels,
        targets=predictions.targets(),
        mask=mask,
        scores=predictions.array("score"),
        probabilities=probabilities,
        decisions=decisions,
        patients=patient_index(predictions.groups())[0],
        notes=tuple(notes),
    )
