"""Who belongs to which group: values of an attribute, bins of a numeric one, and intersections of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from pydantic import Field

from resight.errors import SettingsError, nearest
from resight.predictions import COLUMNS
from resight.settings import Options

_AGE_EDGES = tuple(range(10, 90, 10))
"""Decades; everybody from 80 on is one group, as in tables of the chest X-ray literature."""
_FEW_VALUES = 6
"""A numeric attribute with at most so many different values is taken as it is."""
_MOST_GROUPS = 100
"""More than this is a name or a date, not a group."""


@dataclass(frozen=True)
class Grouping:
    """One way to group the images.

    Attributes:
        name: the attribute, or attributes joined by `+`.
        groups: names of the groups, in order.
        index: `(N,)` group of each image; -1 where the attribute is not known.
    """

    name: str
    groups: tuple[str, ...]
    index: Int[np.ndarray, " N"]

    @property
    def unknown(self) -> int:
        """Images whose group is not known."""
        return int((self.index < 0).sum())

    def remarks(self) -> Iterator[str]:
        """What must be said of it: images that are left out, and that fewer than two groups are no comparison."""
        if self.unknown:
            yield f"{self.name}: not known for {self.unknown} of {len(self.index)} images, left out"
        if len(self.groups) < 2:
            yield f"{self.name}: {len(self.groups)} group(s), so nothing can be compared"

    def members(self, number: int) -> Bool[np.ndarray, " N"]:
        """Which images belong to a group."""
        return self.index == number


class GroupRule(Options):
    """How groups were made, kept so that later images come into the groups of the first ones."""

    by: str = Field(min_length=1, description="attribute, or several joined by `+` for their intersection")
    edges: dict[str, tuple[float, ...]] = Field(
        default={}, description="rising edges of the attributes whose numbers are put into bins"
    )

    @classmethod
    def fit(cls, images: pd.DataFrame, by: str, edges: Mapping[str, Sequence[float]] | None = None) -> GroupRule:
        """Settle which attributes are put into bins, and where these end.

        Args:
            images: one row an image, with the attributes as columns.
            by: attribute, or several joined by `+`.
            edges: rising edges of numeric attributes.

        Raises:
            SettingsError: as `make_groupings`.
        """
        given = edges or {}
        names = by.split("+")
        if unused := sorted(set(given) - set(names)):
            raise SettingsError(f"edges of {unused[0]!r}, which is not grouped by", fix=nearest(unused[0], names))
        found = {name: _edges(name, _attribute(images, name), given.get(name)) for name in names}
        return cls(by=by, edges={name: cuts for name, cuts in found.items() if cuts is not None})

    def names(self, images: pd.DataFrame) -> Shaped[np.ndarray, " N"]:
        """Group of each image `(N,)`, blank where an attribute is not known or there is no such column."""
        parts = [self._of(name, images) for name in self.by.split("+")]
        crossed = _crossed(self.by, parts)
        return np.array([*crossed.groups, ""], dtype=object)[crossed.index]

    def _of(self, name: str, images: pd.DataFrame) -> Grouping:
        if name not in images.columns:
            return Grouping(name, (), np.full(len(images), -1))
        return _grouping(name, images[name], self.edges.get(name))


def make_groupings(
    images: pd.DataFrame, by: Sequence[str], edges: Mapping[str, Sequence[float]] | None = None
) -> tuple[Grouping, ...]:
    """Group images.

    Args:
        images: one row an image, with the attributes as columns.
        by: attributes, or several joined by `+` for their intersection.
        edges: rising edges of numeric attributes.

    Raises:
        SettingsError: there is no such attribute, edges that do not rise or belong to text, or an attribute with a
            value of its own for nearly every image.
    """
    if not by:
        return ()
    rule = GroupRule.fit(images, "+".join(by), edges)
    single = {name: _grouping(name, images[name], rule.edges.get(name)) for name in rule.by.split("+")}
    return tuple(_crossed(entry, [single[name] for name in entry.split("+")]) for entry in dict.fromkeys(by))


def _attribute(images: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The column, if groups can be made of it."""
    if name not in images.columns or (name in COLUMNS and name != "operating_point"):
        offered = [str(c) for c in images.columns if c not in COLUMNS]
        raise SettingsError(f"no attribute {name!r} to group by", fix=nearest(name, offered))
    return images[name]


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def _edges(name: str, values: pd.Series[Any], given: Sequence[float] | None) -> tuple[float, ...] | None:
    """Edges of the bins: those given, or decades of age and quartiles; None where values are groups as they are."""
    if not _is_number(values):
        if given is not None:
            raise SettingsError(f"edges of {name!r}, whose values are not numbers")
        if (count := values.nunique()) > _MOST_GROUPS:
            found = f"{count} different values of {name!r}"
            raise SettingsError(found, expected=f"at most {_MOST_GROUPS} groups", fix="Give a column with few values.")
        return None
    if given is None:
        if values.nunique() <= _FEW_VALUES:
            return None
        numbers = values.to_numpy(dtype=np.float64)
        quartiles = np.unique(np.quantile(numbers[np.isfinite(numbers)], [0.25, 0.5, 0.75]))
        given = _AGE_EDGES if name == "age" else tuple(quartiles)
    cuts = tuple(float(edge) for edge in given)
    if not cuts or any(later <= earlier for earlier, later in pairwise(cuts)):
        raise SettingsError(f"edges of {name!r}: {list(cuts)}", expected="at least one, rising")
    return cuts


def _grouping(name: str, values: pd.Series[Any], edges: Sequence[float] | None) -> Grouping:
    if edges is not None:
        return _binned(name, pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64), edges)
    numeric = _is_number(values)
    text = values.map(lambda value: f"{value:g}" if numeric else str(value).strip(), na_action="ignore")
    known = (text.notna() & (text != "")).to_numpy()
    names = sorted(map(str, text[known].unique()), key=lambda one: (float(one) if numeric else 0.0, one))
    number = {group: place for place, group in enumerate(names)}
    index = text.map(number).fillna(-1).to_numpy(dtype=np.int64)
    return Grouping(name, tuple(names), np.where(known, index, -1))


def _binned(name: str, values: Float[np.ndarray, " N"], edges: Sequence[float]) -> Grouping:
    """Half-open bins from edge to edge, with one below the first and one from the last on; empty ones are left away."""
    known = np.isfinite(values)
    names = [f"below {edges[0]:g}", *(f"{a:g} to <{b:g}" for a, b in pairwise(edges)), f"{edges[-1]:g} and above"]
    index = np.where(known, np.searchsorted(edges, np.where(known, values, 0.0), side="right"), -1)
    used = np.unique(index[known])
    renumbered = np.where(known, np.searchsorted(used, index), -1)
    return Grouping(name, tuple(names[place] for place in used), renumbered)


def _crossed(name: str, parts: Sequence[Grouping]) -> Grouping:
    if len(parts) == 1:
        return parts[0]
    index = np.stack([part.index for part in parts])
    known: Bool[np.ndarray, " N"] = np.asarray((index >= 0).all(axis=0))
    cells, place = np.unique(index[:, known], axis=1, return_inverse=True)
    groups = [", ".join(part.groups[c] for part, c in zip(parts, cell, strict=True)) for cell in cells.T]
    crossed = np.full(len(known), -1)
    crossed[known] = place.reshape(-1)
    return Grouping(name, tuple(groups), crossed)
