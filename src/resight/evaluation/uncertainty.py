"""What a predictions table says of its own doubt: are sets as good as promised, and is the model wrong where unsure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from resight.evaluation.conformal_sets import Conformal
from resight.evaluation.options import EvaluationOptions
from resight.evaluation.resampling import patient_index
from resight.evaluation.selective import RiskCoverage, confidence_of, risk_coverage
from resight.evaluation.set_quality import SetQuality, judge_sets
from resight.predictions import Predictions
from resight.settings import plain

_MOST_GROUPS = 8
"""Values of an attribute up to which coverage is shown for each."""


@dataclass(frozen=True)
class Uncertainty:
    """Doubt on the rows of one split.

    Attributes:
        sets: quality of conformal sets; None without thresholds.
        selective: by label (`all` for a multiclass task) the risk of answering the surest images alone.
    """

    sets: SetQuality | None
    selective: Mapping[str, RiskCoverage]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        selective = {name: curve.to_dict() for name, curve in self.selective.items()}
        return plain({"sets": self.sets, "selective": selective})


def judge_uncertainty(predictions: Predictions, conformal: Conformal | None, options: EvaluationOptions) -> Uncertainty:
    """Judge sets and confidence.

    Args:
        predictions: rows of the split to judge, with probabilities and targets.
        conformal: thresholds chosen elsewhere.
        options: bootstrap and confidence; the split is not looked at.
    """
    probabilities, targets, mask = predictions.probabilities(), predictions.targets(), predictions.mask()
    images = predictions.images()
    sets = None
    if conformal is not None:
        own = conformal.groups_of(images)
        groups = _groups(images)
        if conformal.rule is not None and own is not None:
            groups = {conformal.rule.by: np.where(own == "", "unknown", own)} | groups
        sets = judge_sets(
            conformal,
            probabilities,
            targets,
            mask,
            predictions.labels,
            patients=predictions.groups(),
            own=own,
            groups=groups,
            confidence=options.confidence,
        )
    owner, _ = patient_index(predictions.groups())
    usable = np.logical_and.reduce([mask, np.isin(targets, [0.0, 1.0]), ~np.isnan(probabilities)])
    sure = confidence_of(probabilities, predictions.task)
    wrong = np.asarray(np.not_equal(probabilities >= 0.5, targets > 0))
    names = predictions.labels
    if predictions.task == "multiclass":
        usable = usable.all(axis=1, keepdims=True)
        wrong = (probabilities.argmax(axis=1) != targets.argmax(axis=1))[:, None]
        names = ("all",)
    curves = {
        name: risk_coverage(
            sure[rows, k],
            wrong[rows, k],
            owner[rows],
            replicates=options.bootstrap,
            seed=options.seed,
            level=options.confidence,
        )
        for k, (name, rows) in enumerate(zip(names, usable.T, strict=True))
    }
    return Uncertainty(sets, curves)


def _groups(images: pd.DataFrame) -> dict[str, Shaped[np.ndarray, " N"]]:
    """Attributes with few values, those that are not known as a group of their own."""
    found: dict[str, Shaped[np.ndarray, " N"]] = {}
    for column in images.columns:
        if column in ("image", "patient_id", "split", "fold", "error", "operating_point", "alerts"):
            continue
        values = images[column].astype(object).where(images[column].notna(), "unknown").astype(str)
        if 1 < values.nunique() <= _MOST_GROUPS:
            found[str(column)] = values.to_numpy()
    return found
