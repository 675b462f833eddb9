"""Which rows of a predictions table are evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from resight.errors import PredictionsError, nearest
from resight.predictions import Predictions
from resight.types import Mask, Scores

_DEVELOPMENT = ("train", "validation")
_EVEN = 0.5


@dataclass(frozen=True)
class AssumedDecisions:
    """Decisions that a table does not hold: the rule's name, its threshold (NaN for none), the array, and a note."""

    name: str
    threshold: float
    array: Float[np.ndarray, "N L"]
    note: str


def select_split(predictions: Predictions, split: str | None) -> tuple[Predictions, Predictions | None, list[str]]:
    """Choose the rows to evaluate.

    Args:
        predictions: the whole table.
        split: its name; the test rows where unset and there are any, else all rows.

    Returns:
        The rows to evaluate, the train and validation rows besides (None where there are none), and notes.

    Raises:
        PredictionsError: there are no rows of that split.
    """
    if "split" not in predictions.table.columns:
        if split is not None:
            raise PredictionsError("no column 'split'", expected=f"one with the value {split!r}")
        return predictions, None, []
    splits = [str(value) for value in predictions.table["split"].dropna().unique()]
    if split is not None and split not in splits:
        raise PredictionsError(f"no rows of split {split!r}", fix=nearest(split, splits))
    wanted = split or ("test" if "test" in splits else None)
    if wanted is None:
        return predictions, None, [f"No test split: all rows are evaluated ({', '.join(splits) or 'no split given'})"]
    others = [name for name in splits if name in _DEVELOPMENT and name != wanted]
    if not others:
        return predictions.part(split=wanted), None, []
    table = predictions.table.loc[predictions.table["split"].isin(others)].reset_index(drop=True)
    return predictions.part(split=wanted), Predictions(table, predictions.labels, predictions.task), []


def assumed_decisions(predictions: Predictions, probabilities: Scores | None) -> AssumedDecisions | None:
    """What to take for decisions where a table holds none: the most likely class, or a probability of at least 0.5.

    Args:
        predictions: the table.
        probabilities: `(N, L)`; None where its scores are no probabilities.

    Returns:
        None where nothing can be assumed.
    """
    if predictions.task == "multiclass":
        scores = predictions.probabilities()
        top = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=1)
        array = np.where(np.isnan(scores), np.nan, np.eye(len(predictions.labels))[top])
        note = "No decisions in the table: the most likely class is taken"
        return AssumedDecisions("most likely class", np.nan, array, note)
    if probabilities is None:
        return None
    array = np.where(np.isnan(probabilities), np.nan, (probabilities >= _EVEN).astype(np.float64))
    return AssumedDecisions(
        "0.5", _EVEN, array, "No decisions in the table: positive means a probability of at least 0.5"
    )


def hard_mask(predictions: Predictions) -> Mask:
    """Rows that count, have a score, and whose target is 0 or 1, not something between."""
    return predictions.mask() & _hard(predictions)


def hard_known(predictions: Predictions) -> Mask:
    """The same with or without a score: training rows have none, and baselines need none."""
    return predictions.known() & _hard(predictions)


def _hard(predictions: Predictions) -> Mask:
    targets = predictions.targets()
    return (targets == 0) | (targets == 1)
