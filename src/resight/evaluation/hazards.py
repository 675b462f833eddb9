"""From hazards of intervals to survival: what a predictions table of a prognosis holds besides probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resight.types import Scores


def survival_of(hazards: Scores) -> Scores:
    """Chance `(N, L)` to be free of the event at the end of each interval: the product of `1 - hazard` up to it."""
    return np.cumprod(1.0 - hazards, axis=1)


def survival_columns(hazards: Scores, horizons: Sequence[float]) -> dict[str, Scores | None]:
    """The columns `horizon` and `survival` of a predictions table; both None where labels are no intervals of time."""
    if not horizons:
        return {"horizon": None, "survival": None}
    return {"horizon": np.tile(np.asarray(horizons, dtype=float), (len(hazards), 1)), "survival": survival_of(hazards)}
