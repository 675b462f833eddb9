"""Sums from which a whole audit follows: how many images of each label state have each rounded score.

Probabilities are rounded to 4096 levels that all sites agree on. AUROC with DeLong's variance, Brier score, calibration
and decisions at any threshold are functions of these counts, so that adding the counts of sites gives exactly what the
pooled images would give with the same rounding; no site shows a row. What rounding does to AUROC is bounded by the
pairs that it ties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from resight.predictions import Predictions
from resight.types import Mask, Scores, Targets

LEVELS: Final = 4096
Counts = Int[np.ndarray, "G L 2 levels"]
"""Images by group, label, state (negative, positive) and level."""
EVERYONE: Final = "everyone"


def levels_of(probabilities: Scores) -> Int[np.ndarray, "N L"]:
    """Level of each probability."""
    return np.rint(np.clip(probabilities, 0.0, 1.0) * (LEVELS - 1)).astype(np.int64)


def rounded(probabilities: Scores) -> Scores:
    """Probabilities as the counts see them."""
    return levels_of(probabilities) / (LEVELS - 1)


def group_titles(groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names of the groups in the order they are counted: everyone, then `attribute = value`."""
    return (EVERYONE, *(f"{attribute} = {value}" for attribute, values in groups.items() for value in values))


def count(
    probabilities: Scores, targets: Targets, mask: Mask, table: pd.DataFrame, groups: Mapping[str, Sequence[str]]
) -> Counts:
    """Count images; targets between 0 and 1 and rows without a finite score do not count.

    Args:
        probabilities: `(N, L)`.
        targets: `(N, L)`.
        mask: true where the target is known.
        table: N rows of attributes.
        groups: attribute -> values to count apart; an attribute that the table lacks counts nobody.
    """
    usable = mask & np.isfinite(probabilities) & ((targets == 0) | (targets == 1))
    levels = levels_of(np.nan_to_num(probabilities))
    members = [np.ones(len(table), dtype=bool)]
    for attribute, values in groups.items():
        column = table[attribute].astype(str) if attribute in table.columns else pd.Series("", index=table.index)
        members += [(column == value).to_numpy() for value in values]
    counts = np.zeros((len(members), targets.shape[1], 2, LEVELS), np.int64)
    for group, inside in enumerate(members):
        for label in range(targets.shape[1]):
            rows = usable[:, label] & inside
            np.add.at(counts[group, label], (targets[rows, label].astype(np.int64), levels[rows, label]), 1)
    return counts


@dataclass(frozen=True)
class Spread:
    """Counts of one group and label laid out again as rows, in order of score: enough for every metric."""

    targets: Float[np.ndarray, " n"]
    probabilities: Float[np.ndarray, " n"]


def spread_out(counts: Int[np.ndarray, "2 levels"]) -> Spread:
    """Rows with the same counts; who they were is not in them."""
    grid = np.arange(LEVELS) / (LEVELS - 1)
    probabilities = np.concatenate([np.repeat(grid, counts[0]), np.repeat(grid, counts[1])])
    targets = np.repeat([0.0, 1.0], counts.sum(axis=1))
    return Spread(targets, probabilities)


def as_predictions(counts: Int[np.ndarray, "2 levels"], label: str) -> Predictions:
    """A predictions table of one label with these counts; who its rows were is not in it."""
    rows = spread_out(counts)
    images = pd.DataFrame({"image": [f"row {number}" for number in range(len(rows.targets))]})
    probabilities, targets = rows.probabilities[:, None], rows.targets[:, None]
    mask = np.ones(targets.shape, dtype=bool)
    return Predictions.from_arrays(
        images, (label,), "binary", score=probabilities, probability=probabilities, target=targets, mask=mask
    )


def tied_share(counts: Int[np.ndarray, "2 levels"]) -> float:
    """Share of pairs of a positive and a negative that rounding may have tied: AUROC is off by half of it at most."""
    negatives, positives = counts.sum(axis=1)
    if not negatives * positives:
        return float("nan")
    return float((counts[0] * counts[1]).sum() / (negatives * positives))
