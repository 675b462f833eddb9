from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from resight.predictions import Predictions

Arrive = Callable[..., Predictions]


@pytest.fixture
def arrive() -> Arrive:
    """Cases of a hospital; `shift` moves the score, `darker` the brightness, `portable` the share of AP views."""

    def draw(
        seed: int,
        count: int = 200,
        *,
        shift: float = 0.0,
        darker: float = 0.0,
        portable: float = 0.3,
        overconfident: float = 0.0,
        start: int = 0,
        outcomes: bool = True,
    ) -> Predictions:
        rng = np.random.default_rng(seed)
        logit = rng.normal(-1, 1.5, (count, 2)) + shift
        target = (rng.random((count, 2)) < expit(logit - overconfident)).astype(float)
        images = pd.DataFrame(
            {
                "image": [f"{start + i}.png" for i in range(count)],
                "patient_id": [f"P{start + i}" for i in range(count)],
                "brightness": rng.normal(120 - darker, 10, count),
                "view": rng.choice(["AP", "PA"], count, p=[portable, 1 - portable]),
                "alerts": np.where(rng.random(count) < 0.05, "rotated", ""),
            }
        )
        p = expit(logit)
        return Predictions.from_arrays(
            images, ("a", "b"), "multilabel", score=p, probability=p, target=target if outcomes else None
        )

    return draw
