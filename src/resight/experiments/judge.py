"""After training: probabilities, operating points, the predictions table and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from resight.evaluation import (
    Calibration,
    Conformal,
    Evaluation,
    OperatingPoint,
    Prognosis,
    Uncertainty,
    choose_operating_points,
    decide,
    evaluate,
    evaluate_prognosis,
    fit_calibration,
    fit_conformal,
    judge_uncertainty,
    survival_columns,
)
from resight.experiments.members import Ensemble
from resight.experiments.prepare import Prepared
from resight.experiments.settings import ExperimentSettings
from resight.predictions import Predictions, scores_of
from resight.types import OUTCOME_COLUMNS, Cohort, Scores


@dataclass(frozen=True)
class Judged:
    """Everything about a trained ensemble that can be said in numbers.

    Attributes:
        calibration: fitted on the validation images.
        operating_points: chosen on the validation images.
        predictions: all rows; those only trained on have no scores.
        evaluation: of the test rows; of the validation rows, and then optimistic, where no test row has a label.
        evaluated_on: `test` or `validation`.
        conformal: thresholds of sets, chosen on the validation images.
        uncertainty: how sets and confidence did on the rows evaluated.
        notes: what the validation images could not decide, one sentence each.
        prognosis: the same rows as times to an event, where the labels are intervals of time.
    """

    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    predictions: Predictions
    evaluation: Evaluation
    evaluated_on: str
    conformal: Conformal
    uncertainty: Uncertainty
    notes: tuple[str, ...] = ()
    prognosis: Prognosis | None = None


def judge(settings: ExperimentSettings, prepared: Prepared, ensemble: Ensemble) -> Judged:
    """Calibrate and choose thresholds on validation images, then evaluate on test images.

    Args:
        settings: calibration method, rules for operating points, evaluation options.
        prepared: the cohort.
        ensemble: held-out logits.
    """
    cohort, validation = prepared.cohort, ensemble.validation
    targets, mask = cohort.targets(), cohort.mask()
    calibration = fit_calibration(
        ensemble.logits[validation],
        targets[validation],
        mask[validation],
        cohort.task,
        settings.calibration.method,
    )
    held_out = ~np.isnan(ensemble.logits).any(axis=1)
    probabilities = np.full(ensemble.logits.shape, np.nan)
    probabilities[held_out] = calibration.apply(ensemble.logits[held_out])
    points = choose_operating_points(
        probabilities[validation], targets[validation], mask[validation], cohort.labels, settings.operating_points
    )
    conformal = fit_conformal(
        probabilities[validation],
        targets[validation],
        mask[validation],
        cohort.task,
        settings.conformal,
        patients=_patients(cohort.rows(validation)),
        images=cohort.rows(validation).table,
    )
    predictions = _table(cohort, ensemble, probabilities, points, conformal)
    evaluated_on = "test" if mask[prepared.in_split("test")].any() else "validation"
    options = settings.evaluation.model_copy(update={"split": evaluated_on})
    evaluation = evaluate(predictions, options, operating_points=points)
    return Judged(
        calibration,
        points,
        predictions,
        evaluation,
        evaluated_on,
        conformal,
        judge_uncertainty(predictions.part(split=evaluated_on), conformal, options),
        _notes(cohort.labels, calibration, points),
        evaluate_prognosis(predictions, options) if cohort.horizons else None,
    )


def _patients(cohort: Cohort) -> np.ndarray[Any, Any] | None:
    return cohort.table["patient_id"].to_numpy(dtype=object) if "patient_id" in cohort.table.columns else None


def _notes(labels: tuple[str, ...], calibration: Calibration, points: tuple[OperatingPoint, ...]) -> tuple[str, ...]:
    fitted = [
        f"{label}: calibration: {one.note}" for label, one in zip(labels, calibration.labels, strict=True) if one.note
    ]
    chosen = [f"{point.label}: threshold of {point.name!r}: {point.note}" for point in points if point.note]
    return (*fitted, *chosen)


def _table(
    cohort: Cohort,
    ensemble: Ensemble,
    probabilities: Scores,
    points: tuple[OperatingPoint, ...],
    conformal: Conformal,
) -> Predictions:
    outcome = OUTCOME_COLUMNS if cohort.horizons else ()
    columns = [c for c in ("image", "patient_id", "split", *outcome, *cohort.attributes) if c in cohort.table.columns]
    images = cohort.table[columns].copy()
    images["split"] = np.where(ensemble.validation, "validation", cohort.table["split"])
    if (ensemble.folds >= 0).any():
        images["fold"] = pd.Series(ensemble.folds).where(ensemble.folds >= 0).astype("Int64")
    name = points[0].name
    own = conformal.groups_of(cohort.table)
    if own is not None:
        images["conformal_group"] = own
    predictions = Predictions.from_arrays(
        images,
        cohort.labels,
        cohort.task,
        logit=ensemble.logits,
        score=scores_of(ensemble.logits, cohort.task),
        probability=probabilities,
        decision=decide(probabilities, cohort.labels, points, name),
        conformal=conformal.words(probabilities, own),
        target=cohort.targets(),
        mask=cohort.mask(),
        **survival_columns(probabilities, cohort.horizons),
    )
    predictions.table["operating_point"] = name
    return predictions
