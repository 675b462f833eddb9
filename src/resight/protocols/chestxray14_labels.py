"""ChestX-ray14 without images: what view, sex and age alone give away, on the whole label table.

The rate of each finding among the training images of the same view, sex and decade of age, as a score for the test
images: counting, nothing else.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from resight.evaluation import Evaluation, EvaluationOptions, evaluate
from resight.predictions import Predictions
from resight.types import Cohort, MetricValue, RowMask, Scores

COLUMN_SETS = {"view": ("view",), "view, sex and age": ("view", "sex", "decade")}
"""What is known of an image -> the columns that make a cell; age counts in decades."""
_LEAST = 5
"""Positives and negatives a fusion is fitted on at least."""


def rate_scores(cohort: Cohort, fitted_on: RowMask, columns: tuple[str, ...]) -> Scores:
    """Rate of each label in the cell of each image `(N, L)`; cells that were not seen get the rate of all.

    Args:
        cohort: with `view`, `sex` and `age` where they are asked for.
        fitted_on: rows that are counted.
        columns: which together make a cell; `decade` is the age in tens of years.
    """
    table = cohort.table.assign(decade=cohort.table["age"] // 10)
    labels, seen = list(cohort.labels), table[fitted_on]
    rates = seen.groupby(list(columns))[labels].mean()
    scores = table[list(columns)].merge(rates, left_on=list(columns), right_index=True, how="left")[labels]
    return scores.fillna(seen[labels].mean()).to_numpy(dtype=np.float64)


def judge_labels(cohort: Cohort, columns: tuple[str, ...], *, bootstrap: int) -> Evaluation:
    """Evaluate the rates of the training and validation rows on the test rows.

    Args:
        cohort: with the official split.
        columns: as `rate_scores`.
        bootstrap: replicates by patient.
    """
    test = (cohort.table["split"] == "test").to_numpy()
    scores = rate_scores(cohort, ~test, columns)[test]
    part = cohort.rows(test)
    predictions = Predictions.from_arrays(
        part.table[["image", "patient_id"]], part.labels, part.task, score=scores, target=part.targets()
    )
    return evaluate(predictions, EvaluationOptions(bootstrap=bootstrap, baselines=False))


def fuse_metadata(predictions: Predictions, *, bootstrap: int) -> tuple[MetricValue, int]:
    """Late fusion: logit, age, sex and view in a logistic regression fitted on validation rows, judged on test rows.

    Args:
        predictions: of a run, with `age`, `sex`, `view` and both splits.
        bootstrap: replicates by patient.

    Returns:
        Mean AUROC, and for how many labels the validation rows sufficed; the others keep the image's score.
    """
    validation, test = predictions.part(split="validation"), predictions.part(split="test")
    scores, fused = test.array("logit"), 0
    known, asked = _design(validation.images()), _design(test.images())
    for column in range(len(predictions.labels)):
        y = validation.targets()[:, column]
        if min(y.sum(), len(y) - y.sum()) < _LEAST:
            continue
        logits = validation.array("logit")[:, column]
        model = LogisticRegression(max_iter=1000).fit(np.column_stack([logits, known]), y)
        scores[:, column] = model.decision_function(np.column_stack([scores[:, column], asked]))
        fused += 1
    table = Predictions.from_arrays(
        test.images()[["image", "patient_id"]], test.labels, test.task, score=scores, target=test.targets()
    )
    options = EvaluationOptions(bootstrap=bootstrap, baselines=False)
    return evaluate(table, options).macro["auroc"], fused


def _design(images: pd.DataFrame) -> np.ndarray:
    """Age in decades, male, and taken from the front with the patient lying or sitting (AP)."""
    age = images["age"].fillna(images["age"].median()) / 10
    return np.column_stack([age, images["sex"] == "M", images["view"] == "AP"]).astype(np.float64)
