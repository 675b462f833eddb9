"""A model and readers with known complementarity: each knows what the other does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from resight.predictions import Predictions
from resight.teaming import Readings

_READERS = 4


def complementary(seed: int, count: int = 3000) -> tuple[Predictions, Readings]:
    """Half of the cases are easy for the model alone, half for people alone; the score tells which."""
    rng = np.random.default_rng(seed)
    target = (rng.random(count) < 0.3).astype(float)
    easy_for_model = rng.random(count) < 0.5
    strength = np.where(easy_for_model, 4.0, 0.3)
    logit = strength * (2 * target - 1) + rng.normal(0, 1, count)
    probability = expit(logit)
    names = [f"case_{i:04d}.png" for i in range(count)]
    images = pd.DataFrame(
        {
            "image": names,
            "patient_id": [f"p{i // 2}" for i in range(count)],
            "split": np.where(np.arange(count) < count // 2, "validation", "test"),
        }
    )
    columns = {
        "score": probability,
        "probability": probability,
        "decision": (probability >= 0.5) * 1.0,
        "target": target,
    }
    predictions = Predictions.from_arrays(
        images, ("Nodule",), "binary", **{k: v[:, None] for k, v in columns.items()}, mask=np.ones((count, 1))
    )
    rows = []
    for reader in range(_READERS):
        right = rng.random(count) < np.where(easy_for_model, 0.75, 0.92)
        decision = np.where(right, target, 1 - target)
        rows.append(pd.DataFrame({"image": names, "reader": f"reader {reader + 1}", "decision": decision}))
    return predictions, Readings.from_table(pd.concat(rows), only_label="Nodule")


@pytest.fixture(scope="session")
def study() -> tuple[Predictions, Readings]:
    return complementary(0)
