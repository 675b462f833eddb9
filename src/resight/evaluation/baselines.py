"""What is reached without looking at an image: the bar every model has to clear, and the first sign of a shortcut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from resight.errors import PredictionsError, nearest
from resight.evaluation.calibration import brier, log_loss
from resight.evaluation.decisions import decision_metrics
from resight.evaluation.delong import auroc_with_interval
from resight.evaluation.discrimination import auprc
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.proportions import proportion
from resight.evaluation.resampling import patient_index
from resight.evaluation.results import Baseline
from resight.evaluation.rows import hard_known, hard_mask
from resight.predictions import COLUMNS, Predictions
from resight.types import Mask, MetricValue, Targets

_FOLDS = 5
_MOST_VALUES = 20
"""Text columns with more values are names, dates or free text, not attributes."""
_LEAST = 5
"""Positives and negatives the metadata model is fitted on at least."""

Design = Float[np.ndarray, "N F"]


def baselines(
    predictions: Predictions, development: Predictions | None = None, options: EvaluationOptions | None = None
) -> tuple[Baseline, ...]:
    """Evaluate what needs no image.

    `majority` and `prevalence` answer the same for every image, with the counts of the development rows; `all-negative`
    never calls a positive; `metadata` is a logistic regression on attributes (age, sex, view, ...): numbers
    standardised, values as indicators, a missing value as a state of its own. Nothing is fitted on the rows that are
    evaluated: without development rows the metadata model is fitted across five folds of patients, and the constant
    answers are those of the evaluated rows, which favours the baseline; the note says so.

    Args:
        predictions: the rows to evaluate, with targets.
        development: train and validation rows of the same labels.
        options: confidence, and which columns the metadata model reads.

    Raises:
        PredictionsError: a column named for the metadata model does not exist.
    """
    options = options or EvaluationOptions()
    targets, mask = predictions.targets(), hard_mask(predictions)
    patients, _ = patient_index(predictions.groups())
    source = development if development is not None else predictions
    known_targets, known = source.targets(), hard_known(source)
    note = "" if development is not None else "answer taken from the evaluated rows"
    found: list[Baseline] = []
    if predictions.task == "multiclass":
        found.append(_majority_class(targets, mask, patients, known_targets, known, options, note))
    for column, label in enumerate(predictions.labels):
        rows, seen = mask[:, column], known_targets[known[:, column], column]
        if not rows.any() or len(seen) == 0:
            continue
        y, owner, share = targets[rows, column], patients[rows], float(seen.mean())
        if predictions.task != "multiclass":
            for name, answer, origin in (("majority", float(share > 0.5), note), ("all-negative", 0.0, "")):
                metrics = decision_metrics(y, np.full(len(y), answer), owner, confidence=options.confidence)
                found.append(Baseline(name, label, metrics, origin))
        constant = np.full(len(y), share)
        metrics = {"brier": brier(y, constant), "log_loss": log_loss(y, constant), "auprc": auprc(y, constant)}
        found.append(Baseline("prevalence", label, metrics, note))
    return (*found, *_metadata(predictions, development, options))


def _majority_class(
    targets: Targets,
    mask: Mask,
    patients: Int[np.ndarray, " N"],
    known_targets: Targets,
    known: Mask,
    options: EvaluationOptions,
    note: str,
) -> Baseline:
    rows = mask.all(axis=1)
    answer = int(np.where(known, known_targets, 0).sum(axis=0).argmax())
    accuracy = proportion(targets[rows, answer] > 0, patients[rows], confidence=options.confidence)
    return Baseline("majority", "", {"accuracy": accuracy}, note)


def _metadata(
    predictions: Predictions, development: Predictions | None, options: EvaluationOptions
) -> Iterator[Baseline]:
    columns = _columns(predictions, development, options.metadata)
    if not columns:
        return
    owner, _ = patient_index(predictions.groups())
    if development is None and len(np.unique(owner)) < _FOLDS:
        return
    mask, targets = hard_mask(predictions), predictions.targets()
    how = "fitted across folds of patients" if development is None else "fitted on the development rows"
    note = f"{', '.join(columns)}; {how}"
    probabilities = np.full(targets.shape, np.nan)
    for fitted_on, answered, design in _folds(predictions, development, columns, owner, options.seed):
        source = predictions if development is None else development
        known, outcomes = hard_known(source), source.targets()
        for label in range(len(predictions.labels)):
            use = fitted_on & known[:, label]
            y = outcomes[use, label]
            if min(y.sum(), len(y) - y.sum()) >= _LEAST:
                model = LogisticRegression(max_iter=1000).fit(design[0][use], y)
                probabilities[answered, label] = model.predict_proba(design[1][answered])[:, 1]
    for label, name in enumerate(predictions.labels):
        rows = mask[:, label] & ~np.isnan(probabilities[:, label])
        reason = f"fewer than {_LEAST} positives or negatives to fit on"
        metrics: dict[str, MetricValue] = dict.fromkeys(["auroc", "auprc", "brier"], MetricValue.undefined(reason))
        if rows.any():
            y, p = targets[rows, label], probabilities[rows, label]
            auroc = auroc_with_interval(y, p, owner[rows], confidence=options.confidence)
            metrics = {"auroc": auroc, "auprc": auprc(y, p), "brier": brier(y, p)}
        yield Baseline("metadata", name, metrics, note)


def _folds(
    predictions: Predictions,
    development: Predictions | None,
    columns: Sequence[str],
    owner: Int[np.ndarray, " N"],
    seed: int,
) -> Iterator[tuple[Bool[np.ndarray, " M"], Bool[np.ndarray, " N"], tuple[Design, Design]]]:
    """Rows to fit on, rows to answer, and the encoded attributes of both tables."""
    images = predictions.images()
    if development is not None:
        fit_on = development.images()
        every = np.ones(len(fit_on), dtype=bool), np.ones(len(images), dtype=bool)
        yield *every, (_encode(fit_on, fit_on, columns), _encode(images, fit_on, columns))
        return
    for train, held_out in GroupKFold(_FOLDS, shuffle=True, random_state=seed).split(images, groups=owner):
        fitted_on, answered = np.zeros((2, len(images)), dtype=bool)
        fitted_on[train], answered[held_out] = True, True
        design = _encode(images, images.iloc[train], columns)
        yield fitted_on, answered, (design, design)


def _columns(
    predictions: Predictions, development: Predictions | None, asked: tuple[str, ...] | None
) -> tuple[str, ...]:
    images = predictions.images()
    there = [str(c) for c in images.columns if c not in COLUMNS]
    if asked is not None:
        for column in asked:
            if column not in there:
                raise PredictionsError(f"no column {column!r} for the metadata baseline", fix=nearest(column, there))
        return asked
    if development is not None:
        there = [c for c in there if c in development.table.columns]
    return tuple(c for c in there if _is_number(images[c]) or images[c].nunique() <= _MOST_VALUES)


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _encode(images: pd.DataFrame, fitted_on: pd.DataFrame, columns: Sequence[str]) -> Design:
    """Numbers standardised and values as indicators, with the means and values of `fitted_on`."""
    parts: list[Float[np.ndarray, " N"]] = []
    for column in columns:
        values, known = images[column], fitted_on[column]
        parts.append(values.isna().to_numpy(dtype=np.float64))
        if _is_number(known) and _is_number(values):
            centre, spread = float(known.mean()), float(known.std())
            scaled = (values - centre) / (spread if spread > 0 else 1.0)
            parts.append(scaled.fillna(0.0).to_numpy(dtype=np.float64))
        else:
            text = values.astype(str)
            parts.extend(
                (text == value).to_numpy(dtype=np.float64) for value in sorted(known.dropna().astype(str).unique())
            )
    return np.column_stack(parts)
