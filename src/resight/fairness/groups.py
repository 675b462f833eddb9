"""Who belongs to which group: values of an attribute, bins of a numeric one, and intersections of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from resight.errors import SettingsError, nearest
from resight.predictions import COLUMNS

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
    edges = edges or {}
    single = {name: _single(images, name, edges.get(name)) for entry in by for name in entry.split("+")}
    if unused := sorted(set(edges) - set(single)):
        raise SettingsError(f"edges of {unused[0]!r}, which is not grouped by", fix=nearest(unused[0], single))
    return tuple(_crossed(entry, [single[name] for name in entry.split("+")]) for entry in dict.fromkeys(by))


def _single(images: pd.DataFrame, name: str, edges: Sequence[float] | None) -> Grouping:
    offered = [str(c) for c in images.columns if c not in COLUMNS]
    if name not in images.columns or (name in COLUMNS and name != "operating_point"):
        raise SettingsError(f"no attribute {name!r} to group by", fix=nearest(name, offered))
    values = images[name]
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if edges is not None and not numeric:
        raise SettingsError(f"edges of {name!r}, whose values are not numbers")
    if numeric and (edges is not None or values.nunique() > _FEW_VALUES):
        return _binned(name, values.to_numpy(dtype=np.float64), edges)
    text = values.map(lambda value: f"{value:g}" if numeric else str(value).strip(), na_action="ignore")
    known = (text.notna() & (text != "")).to_numpy()
    names = sorted(map(str, text[known].unique()), key=lambda one: (float(one) if numeric else 0.0, one))
    if len(names) > _MOST_GROUPS:
        found = f"{len(names)} different values of {name!r}"
        raise SettingsError(found, expected=f"at most {_MOST_GROUPS} groups", fix="Give a column with few values.")
    number = {group: place for place, group in enumerate(names)}
    index = text.map(number).fillna(-1).to_numpy(dtype=np.int64)
    return Grouping(name, tuple(names), np.where(known, index, -1))


def _binned(name: str, values: np.ndarray, edges: Sequence[float] | None) -> Grouping:
    """Half-open bins from edge to edge, with one below the first and one from the last on; empty ones are left away."""
    known = np.isfinite(values)
    if edges is None:
        quartiles = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75])) if known.any() else np.empty(0)
        edges = _AGE_EDGES if name == "age" else tuple(float(edge) for edge in quartiles)
    cuts = np.asarray(edges, dtype=np.float64)
    if len(cuts) == 0 or (np.diff(cuts) <= 0).any():
        raise SettingsError(f"edges of {name!r}: {list(edges)}", expected="at least one, rising")
    names = [f"below {cuts[0]:g}", *(f"{a:g} to <{b:g}" for a, b in pairwise(cuts))]
    names.append(f"{cuts[-1]:g} and above")
    index = np.where(known, np.searchsorted(cuts, np.where(known, values, 0.0), side="right"), -1)
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
