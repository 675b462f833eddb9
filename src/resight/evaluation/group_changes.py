"""Whether a change of the model costs some group of patients its sensitivity, with paired intervals by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import Field
from scipy.sparse import csr_array

from resight.evaluation.resampling import Replicates, Statistic, bootstrap, with_percentiles
from resight.settings import Options
from resight.types import Mask, MetricValue, Targets

_FEW_VALUES = 8
_LEAST_POSITIVES = 5
"""Below, one image more or less would move a sensitivity by over 20 points."""


class GroupChange(Options):
    """Sensitivity of one label in one group before and after."""

    attribute: str = Field(description="column of the cohort; empty for all patients")
    group: str = Field(description="value of the column")
    label: str
    positives: int = Field(ge=0)
    before: float
    after: float
    low: float | None = Field(default=None, description="lower end of the interval of after - before")
    high: float | None = Field(default=None, description="upper end")

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before

    def __str__(self) -> str:
        whose = f"{self.attribute} {self.group}" if self.attribute else "all"
        interval = "" if self.low is None or self.high is None else f", {self.low:+.3f} to {self.high:+.3f}"
        counted = f"{self.positives} positives{interval}"
        return f"{self.label}, {whose}: sensitivity {self.before:.3f} becomes {self.after:.3f} ({counted})"


def groups_of(table: pd.DataFrame, columns: Sequence[str]) -> dict[tuple[str, str], Bool[np.ndarray, " N"]]:
    """Rows of each group: values of columns with few values, and the two halves of columns of numbers.

    Args:
        table: one row an image.
        columns: attributes; those with many words are left out.
    """
    groups: dict[tuple[str, str], Bool[np.ndarray, " N"]] = {}
    for column in columns:
        values = table[column]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > _FEW_VALUES:
            middle = float(values.median())
            groups[(column, f"below {middle:g}")] = (values < middle).to_numpy()
            groups[(column, f"{middle:g} or above")] = (values >= middle).to_numpy()
        elif values.nunique() <= _FEW_VALUES:
            texts = values.astype(str).where(values.notna())
            groups |= {(column, str(value)): (texts == value).to_numpy() for value in sorted(texts.dropna().unique())}
    return groups


def sensitivity_changes(
    before: Float[np.ndarray, "N L"],
    after: Float[np.ndarray, "N L"],
    targets: Targets,
    mask: Mask,
    labels: Sequence[str],
    groups: Mapping[tuple[str, str], Bool[np.ndarray, " N"]],
    patients: tuple[Int[np.ndarray, " N"], int],
    *,
    replicates: int = 500,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[GroupChange, ...]:
    """Sensitivity of every label over all images and in every group, before and after, and the change with interval.

    Args:
        before: decisions 0 or 1, `(N, L)`.
        after: decisions on the same images.
        targets: `(N, L)`.
        mask: true where the target counts.
        labels: names of the L columns.
        groups: rows of each group.
        patients: index of each image's patient, and how many there are.
        replicates: of the bootstrap by patient; 0 leaves intervals away.
        seed: of the bootstrap.
        confidence: coverage.

    Returns:
        One row a label and group; groups with fewer than 5 positives are left out.
    """
    everyone = {("", "all"): np.ones(len(targets), dtype=bool)}
    found: list[tuple[GroupChange, Statistic]] = []
    for column, label in enumerate(labels):
        positive = mask[:, column] & (targets[:, column] == 1)
        for (attribute, group), member in {**everyone, **groups}.items():
            rows = positive & member
            if rows.sum() < _LEAST_POSITIVES:
                continue
            old, new = before[rows, column], after[rows, column]
            sums = csr_array(np.stack([np.ones(len(old)), new - old]))
            statistic = Statistic(sums, _mean_change).by_patient(patients[0][rows], patients[1])
            facts = {"positives": int(rows.sum()), "before": float(old.mean()), "after": float(new.mean())}
            found.append((GroupChange(attribute=attribute, group=group, label=label, **facts), statistic))
    if not replicates or not found:
        return tuple(change for change, _ in found)
    drawn = bootstrap([statistic for _, statistic in found], patients[1], replicates=replicates, seed=seed)
    return tuple(_with_interval(change, d["change"], confidence) for (change, _), d in zip(found, drawn, strict=True))


def _mean_change(sums: Float[np.ndarray, "K R"]) -> dict[str, Replicates]:
    return {"change": sums[1] / sums[0]}


def _with_interval(change: GroupChange, drawn: Replicates, confidence: float) -> GroupChange:
    value = with_percentiles(MetricValue(change.change), drawn, confidence)
    if np.isnan(value.low):
        return change
    return change.model_copy(update={"low": value.low, "high": value.high})
