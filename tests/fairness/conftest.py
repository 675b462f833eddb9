"""Predictions tables with and without a planted disadvantage of one group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from resight.predictions import Predictions

Draw = Callable[..., Predictions]


def draw_predictions(
    seed: int,
    *,
    patients: int = 400,
    per_patient: int = 2,
    labels: tuple[str, ...] = ("effusion", "mass", "nodule"),
    fainter: float = 0.0,
    clustered: float = 0.7,
) -> Predictions:
    """Scores of patients with several images each; findings of women are `fainter` by so much of a logit.

    Both the finding and the score go along within a patient, so a test that takes images for patients is too sure.
    """
    rng = np.random.default_rng(seed)
    n, n_labels = patients * per_patient, len(labels)
    owner = np.repeat(np.arange(patients), per_patient)
    sex = rng.choice(["F", "M"], patients)[owner]
    age = rng.integers(20, 80, patients)[owner].astype(float)
    ill = rng.random((patients, n_labels))[owner] < 0.3
    targets = ill & (rng.random((n, n_labels)) < 0.9)
    own = clustered * rng.normal(size=(patients, n_labels))[owner] + rng.normal(size=(n, n_labels))
    signal = 2.0 - fainter * (sex == "F")[:, None]
    score = expit(own + signal * targets - 1.2)
    images = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(n)],
            "patient_id": [f"P{i}" for i in owner],
            "sex": sex,
            "age": age,
            "view": rng.choice(["AP", "PA"], n),
        }
    )
    decisions = (score >= 0.5).astype(float)
    return Predictions.from_arrays(
        images, labels, "multilabel", score=score, decision=decisions, target=targets.astype(float)
    )


@pytest.fixture
def draw() -> Draw:
    return draw_predictions
