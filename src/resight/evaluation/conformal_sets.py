"""What sets of answers hold: thresholds of probabilities, one for everybody or those of a patient's group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped
from pydantic import Field, model_validator

from resight.errors import SettingsError
from resight.evaluation.groups import GroupRule
from resight.settings import Options
from resight.types import Scores, Task

ConformalMethod = Literal["marginal", "class_conditional", "risk_control"]


class LabelThresholds(Options):
    """Least probability at which a label, or its absence, belongs to the set; none: it always does."""

    present: float | None = Field(default=None, description="the label belongs to the set at or above this")
    absent: float | None = Field(default=None, description="so does its absence, by 1 less the probability")
    note: str = Field(default="", description="why there is no threshold")


class Conformal(Options):
    """Thresholds that turn probabilities into sets; plain numbers, so they are kept in the bundle as JSON."""

    task: Task = Field(description="multiclass: one set over the labels; otherwise one set over present and absent")
    method: ConformalMethod
    coverage: float
    labels: tuple[LabelThresholds, ...] = Field(
        min_length=1, description="one a label, in order; where groups have their own, for images of no known group"
    )
    chosen_on: str = Field(default="", description="name of the data they were chosen on")
    rule: GroupRule | None = Field(default=None, description="how images come into groups; none: one for all")
    groups: dict[str, tuple[LabelThresholds, ...]] = Field(default={}, description="thresholds by name of the group")

    @model_validator(mode="after")
    def _consistent(self) -> Conformal:
        if any(len(limits) != len(self.labels) for limits in self.groups.values()):
            raise ValueError(f"thresholds of {len(self.labels)} labels for every group")
        return self

    def groups_of(self, images: pd.DataFrame) -> Shaped[np.ndarray, " N"] | None:
        """Names of the groups whose thresholds images get, blank where there are none; None without groups.

        Args:
            images: one row an image, with the attributes as columns.
        """
        if self.rule is None:
            return None
        names = self.rule.names(images)
        return np.where(np.isin(names, [*self.groups]), names, "")

    def notes(self, labels: Sequence[str]) -> Iterator[str]:
        """Why some labels have no threshold, or some group none of its own, one sentence each.

        Args:
            labels: names of the labels.
        """
        for label, limits in zip(labels, self.labels, strict=True):
            if limits.note:
                yield f"{label}: {limits.note}; its sets leave nothing out."
        for group, own in self.groups.items():
            yield from (f"{group}, {label}: {one.note}." for label, one in zip(labels, own, strict=True) if one.note)

    def members(
        self, probabilities: Scores, groups: Shaped[np.ndarray, " N"] | None = None
    ) -> Bool[np.ndarray, "N L K"]:
        """What the sets hold.

        Args:
            probabilities: `(N, L)`; where it is NaN nothing can be left out.
            groups: of each image, from `groups_of`; not known for any image when not given.

        Returns:
            `(N, L, 1)` whether each class belongs to the set of a multiclass task, otherwise `(N, L, 2)`: whether its
            absence and its presence do.
        """
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.labels):
            raise SettingsError(f"probabilities {probabilities.shape}", expected=f"(N, {len(self.labels)})")
        number = {name: place for place, name in enumerate(self.groups)}
        named = [""] * len(probabilities) if groups is None else groups
        own = np.array([number.get(name, -1) for name in named], dtype=np.intp)
        every = [*self.groups.values(), self.labels]
        present = ~(probabilities < _limits([[label.present for label in one] for one in every])[own])
        if self.task == "multiclass":
            return present[:, :, None]
        absent = ~(1 - probabilities < _limits([[label.absent for label in one] for one in every])[own])
        return np.stack([absent, present], axis=2)

    def words(self, probabilities: Scores, groups: Shaped[np.ndarray, " N"] | None = None) -> np.ndarray[Any, Any]:
        """The sets in words, `(N, L)`; None where the probability is NaN.

        `in` and `out` for classes, otherwise `present`, `absent`, `either` or `neither`.

        Args:
            probabilities: `(N, L)`.
            groups: of each image, from `groups_of`; not known for any image when not given.
        """
        members = self.members(probabilities, groups)
        if self.task == "multiclass":
            words = np.array(["out", "in"], dtype=object)[members[:, :, 0].astype(int)]
        else:
            names = np.array(["neither", "absent", "present", "either"], dtype=object)
            words = names[members[:, :, 0] + 2 * members[:, :, 1].astype(int)]
        words[np.isnan(probabilities)] = None
        return words


def _limits(values: Iterable[Iterable[float | None]]) -> Float[np.ndarray, "G L"]:
    return np.array([[-np.inf if value is None else value for value in row] for row in values])
