"""Readers who do not exist, with known skill: to plan studies and to prove that the analyses find what is there.

Ratings follow the model of Roe & Metz (Academic Radiology 1997): a case is as hard as it is for everybody, plus what is
particular to reader, arm and both; all terms are independent and normal.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from resight.settings import Options


class SimulatedReaders(Options):
    """Skill and habits of simulated readers."""

    separation: tuple[float, ...] = Field(
        default=(1.5, 1.5), min_length=1, description="distance of positives from negatives in each arm, in ratings"
    )
    readers: int = Field(default=5, ge=1, le=1000)
    case_sd: float = Field(default=0.55, ge=0, description="how far cases differ alike for all readers and arms")
    case_reader_sd: float = Field(default=0.45, ge=0, description="how far cases differ by reader")
    case_arm_sd: float = Field(default=0.3, ge=0, description="how far cases differ by arm")
    reader_sd: float = Field(default=0.1, ge=0, description="how far readers' separation differs")
    reader_arm_sd: float = Field(default=0.05, ge=0, description="how far an arm helps one reader more than another")
    error_sd: float = Field(default=0.6, gt=0, description="what is left")
    seed: int = Field(default=0, ge=0)


def simulate_ratings(targets: Float[np.ndarray, " N"], options: SimulatedReaders) -> Float[np.ndarray, "I J N"]:
    """Ratings of I arms, J readers and N cases.

    Args:
        targets: reference standard, 0 or 1.
        options: the readers.
    """
    rng = np.random.default_rng(options.seed)
    arms, readers, cases = len(options.separation), options.readers, len(targets)
    o = options
    help_ = rng.normal(0, o.reader_sd, (1, readers)) + rng.normal(0, o.reader_arm_sd, (arms, readers))
    signal = (np.array(o.separation)[:, None] + help_)[:, :, None] * (targets > 0)
    return (
        signal
        + rng.normal(0, o.case_sd, (1, 1, cases))
        + rng.normal(0, o.case_reader_sd, (1, readers, cases))
        + rng.normal(0, o.case_arm_sd, (arms, 1, cases))
        + rng.normal(0, o.error_sd, (arms, readers, cases))
    )


def readings_table(
    ratings: Float[np.ndarray, "I J N"], images: list[str], label: str, arms: tuple[str, ...], threshold: float
) -> pd.DataFrame:
    """Ratings as a readings table; a rating at or above the threshold is a positive decision."""
    n_arms, n_readers, n_cases = ratings.shape
    index = pd.MultiIndex.from_product([arms, [f"reader {j + 1}" for j in range(n_readers)], images])
    table = index.to_frame(index=False, name=["arm", "reader", "image"])
    table["label"], table["rating"] = label, ratings.reshape(n_arms * n_readers * n_cases)
    table["decision"] = (table["rating"] >= threshold).astype(float)
    return table
