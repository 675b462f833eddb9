"""What was asked of a bundle, and the predictions table that the answers become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resight.evaluation import BudgetPoint, Calibration, LabelCalibration, decide, survival_columns
from resight.imaging import TONES
from resight.models.chunk_answers import ChunkAnswers
from resight.models.clinical_rows import ClinicalRows
from resight.models.manifest import Manifest
from resight.models.novelty import Novelty
from resight.models.preparing import Row
from resight.models.several import Doubt
from resight.predictions import FEATURE, NOVELTY, Predictions


@dataclass(frozen=True)
class Ask:
    """What is wanted of each image besides logits.

    Attributes:
        operating_point: decide at this one.
        budget: how to answer for less work.
        doubt: how to answer several times.
        passes: how often dropout is drawn.
        novelty: knows the training images.
    """

    operating_point: str | None = None
    budget: BudgetPoint | None = None
    doubt: Doubt | None = None
    passes: int = 1
    novelty: Novelty | None = None


def uncalibrated(manifest: Manifest) -> Calibration:
    """Logits to scores, as the task has it."""
    return Calibration(task=manifest.task, labels=(LabelCalibration(),) * len(manifest.labels))


def answer_table(
    manifest: Manifest, rows: Sequence[Row], answers: ChunkAnswers, ask: Ask, clinical: ClinicalRows
) -> Predictions:
    """One row per image and label.

    Args:
        manifest: of the bundle.
        rows: one an image.
        answers: of the same images.
        ask: what was wanted.
        clinical: known outcomes of the images.
    """
    logits, names = answers.logits, [row.name for row in rows]
    attributes = clinical.attributes(names)
    images: dict[str, object] = {
        "image": names,
        "alerts": [row.alerts for row in rows],
        "error": pd.Series([row.error for row in rows], dtype=object),
        **clinical.outcomes(names),
        **attributes,
    }
    scores = uncalibrated(manifest).apply(logits)
    probabilities = None if manifest.calibration is None else manifest.calibration.apply(logits)
    points = manifest.operating_points
    if ask.novelty is not None:
        images[NOVELTY] = answers.novelty
        for number, values in enumerate(answers.coordinates.T, 1):
            images[f"{FEATURE}{number}"] = values
    if ask.budget is not None:
        probabilities, points = answers.probabilities, ask.budget.operating_points
        exits = (*(manifest.budgets.exits if manifest.budgets else ()), "last")
        images["exit"] = [exits[int(at)] if at >= 0 else None for at in answers.left_at]
        images["flops_share"] = answers.share
    decisions = None
    if ask.operating_point is not None:
        images["operating_point"] = [ask.operating_point] * len(rows)
        best = scores if probabilities is None else probabilities
        decisions = decide(best, manifest.labels, points, ask.operating_point)
    images |= dict(zip(TONES, np.array([row.tone for row in rows]).reshape(-1, len(TONES)).T, strict=True))
    columns = {"logit": logits, "score": scores, "probability": probabilities, "decision": decisions}
    if manifest.conformal is not None and probabilities is not None:
        own = manifest.conformal.groups_of(attributes)
        columns["conformal"] = manifest.conformal.words(probabilities, own)
        if own is not None:
            images["conformal_group"] = own
    if ask.doubt is not None:
        columns["spread"] = answers.spread
    columns |= survival_columns(scores if probabilities is None else probabilities, manifest.horizons)
    return Predictions.from_arrays(images, manifest.labels, manifest.task, **columns)
