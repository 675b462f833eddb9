"""Two prognoses of the same patients: whose order of risks agrees better with what happened?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.errors import PredictionsError
from resight.evaluation.compare import matched
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.prognosis import compare_prognoses, evaluate_prognosis, is_prognosis
from resight.predictions import Predictions
from resight.settings import plain
from resight.types import MetricValue


@dataclass(frozen=True)
class PrognosisComparison:
    """Two prognoses on the same rows.

    Attributes:
        uno_a: Uno's concordance of the first.
        uno_b: of the second.
        difference: second less first, with the paired interval by patient.
        p: two-sided, that they are equal; NaN where undefined.
        images: compared.
        patients: among them.
        events: among the rows.
        notes: what was left out.
        confidence: of the intervals.
    """

    uno_a: MetricValue
    uno_b: MetricValue
    difference: MetricValue
    p: float
    images: int
    patients: int
    events: int
    notes: tuple[str, ...]
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return plain(self)


def compare_prognosis_tables(
    a: Predictions, b: Predictions, options: EvaluationOptions | None = None
) -> PrognosisComparison:
    """Compare two predictions tables whose labels are hazards of intervals of time.

    Args:
        a: prognosis of the first model.
        b: of the second, for the same images and intervals.
        options: split and confidence.

    Raises:
        PredictionsError: one of the two is no prognosis, or they differ in images, intervals, outcomes or patients.
    """
    options = options or EvaluationOptions()
    for name, table in (("first", a), ("second", b)):
        if not is_prognosis(table):
            expected = "two prognoses, with columns time, event and horizon, or two tables of findings"
            raise PredictionsError(f"the {name} table is no prognosis", where="comparison", expected=expected)
    a, b, notes = matched(a, b, options.split)
    for column in ("time", "event", "horizon"):
        ours, theirs = a.array(column), b.array(column)
        unequal = ((ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))).any(axis=1)
        if unequal.any():
            image = a.images()["image"].iloc[int(unequal.argmax())]
            found = f"image {image!r} has another {column} in the second table ({int(unequal.sum())} images differ)"
            raise PredictionsError(found, where="comparison", expected=f"the same {column} in both tables")
    whole = options.model_copy(update={"split": None})
    first, second = (evaluate_prognosis(table, whole) for table in _known_in_both(a, b))
    difference, p = compare_prognoses(first, second)
    left = len(a) - first.images
    return PrognosisComparison(
        first.uno,
        second.uno,
        difference,
        p,
        first.images,
        first.patients,
        first.events,
        (*notes, *([f"{left} images lack a prognosis or a time and are left out"] if left else [])),
        options.confidence,
    )


def _known_in_both(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both tables without the images that either has no prognosis for."""
    unknown = np.isnan(a.probabilities()).any(axis=1) | np.isnan(b.probabilities()).any(axis=1)
    left = set(a.images()["image"].to_numpy()[np.flatnonzero(unknown)])

    def rest(table: Predictions) -> Predictions:
        keep = ~table.table["image"].isin(left)
        return Predictions(table.table.loc[keep].reset_index(drop=True), table.labels, table.task)

    return rest(a), rest(b)
