"""Leak-free splits: whole groups of images (patients) go to one part, and every label is spread as asked.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, figure 1) with groups in the place of examples: the
rarest label is dealt out first, its largest groups first. A group goes to a part at random, with the part's remaining
demand as weight, so that large patients are not all drawn into the largest part.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from resight.cohorts.columns import split_names
from resight.cohorts.groups import NO_GROUP, group_names
from resight.errors import CohortError, LeakError
from resight.settings import Options
from resight.tables import require_columns
from resight.types import Cohort, PerSample

PARTS = ("train", "validation", "test")


class SplitOptions(Options):
    """How a cohort is divided: by fractions, by an existing column, or by lists of images."""

    fractions: tuple[float, float, float] = Field(
        default=(0.7, 0.1, 0.2), description="shares of train, validation and test"
    )
    group: tuple[str, ...] = Field(
        default=("patient_id",),
        min_length=1,
        description="columns whose equal values stay together; 'none' to split by image",
    )
    clusters: Path | None = Field(default=None, description="table of near-duplicate clusters that stay together too")
    seed: int = Field(default=0, ge=0, description="another seed gives another split")
    column: str | None = Field(default=None, description="take the split from this column")
    lists: dict[str, Path] | None = Field(
        default=None, description="train, validation, test (or train_val) -> file with one image name a line"
    )

    @field_validator("group", mode="before")
    @classmethod
    def _one_column(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> SplitOptions:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6 or self.fractions[0] == 0:
            raise ValueError("fractions: expected three numbers of at least 0 that add up to 1, the first above 0")
        if self.column and self.lists:
            raise ValueError("give column or lists, not both")
        if unknown := set(self.lists or ()) - {*PARTS, "train_val"}:
            raise ValueError(f"lists: {min(unknown)!r} is not one of train, validation, test, train_val")
        return self


def split_cohort(cohort: Cohort, options: SplitOptions | None = None) -> Cohort:
    """Divide a cohort into train, validation and test.

    With a column or lists that name no validation part, one is carved out of train, of the share that `fractions` gives
    validation against train.

    Args:
        cohort: any split it has is replaced.
        options: how to split.

    Returns:
        The cohort with the column `split`, and notes with the counts of each part and what it lacks. The split of an
        image depends on the seed, the groups and their labels, never on the order of rows.

    Raises:
        LeakError: nobody can tell which images belong together, or given parts share a group.
        CohortError: given parts do not cover the cohort, or there are fewer groups than splits.
    """
    options = options or SplitOptions()
    names = group_names(cohort, options.group, options.clusters)
    if options.column or options.lists:
        split = _given(cohort, options)
        if options.group != (NO_GROUP,) or options.clusters:
            _refuse_shared(names, split, cohort.name)
        carved = options.fractions[1] / (options.fractions[0] + options.fractions[1])
        if carved > 0 and "validation" not in set(split):
            train = split == "train"
            if not train.any():
                found = "no training images to carve validation out of"
                raise CohortError(found, where=cohort.name, fix="Name validation images.")
            part = stratified_parts(names[train], _strata(cohort)[train], (1 - carved, carved), options.seed)
            split[train] = np.array(PARTS[:2], dtype=object)[part]
    else:
        groups, wanted = len(set(names)), sum(share > 0 for share in options.fractions)
        if groups < wanted:
            found = f"{groups} {'group' if groups == 1 else 'groups'} of images for {wanted} splits"
            raise CohortError(found, where=cohort.name, expected=f"{wanted} patients or more")
        part = stratified_parts(names, _strata(cohort), options.fractions, options.seed)
        split = np.array(PARTS, dtype=object)[part]
    done = replace(cohort, table=cohort.table.assign(split=split))
    return replace(done, notes=(*cohort.notes, *_split_notes(done)))


def assign_folds(
    cohort: Cohort, k: int, seed: int = 0, *, group: tuple[str, ...] = ("patient_id",), clusters: Path | None = None
) -> Cohort:
    """Number the rows 0 to k - 1 in the column `fold`, whole groups together, labels spread evenly.

    Args:
        cohort: the rows to divide; leave a test part out before.
        k: how many folds.
        seed: another seed gives other folds.
        group: columns whose equal values stay together, or `("none",)`.
        clusters: table of near-duplicate clusters that stay together too.

    Raises:
        LeakError: nobody can tell which images belong together.
        CohortError: there are fewer groups than folds.
    """
    names = group_names(cohort, group, clusters)
    groups = len(set(names))
    if not 2 <= k <= groups:
        raise CohortError(f"{k} folds of {groups} groups", where=cohort.name, expected=f"2 to {groups} folds")
    fold = stratified_parts(names, _strata(cohort), (1 / k,) * k, seed)
    return replace(cohort, table=cohort.table.assign(fold=fold))


def split_counts(cohort: Cohort) -> pd.DataFrame:
    """Images, patients, and positives, negatives and masked of every label, one row per part."""
    rows: dict[str, dict[str, int]] = {}
    for name in [part for part in PARTS if part in set(cohort.table["split"])]:
        part = cohort.part(name)
        targets = part.targets()
        row = {"images": len(part)}
        if "patient_id" in part.table:
            row["patients"] = len(set(part.table["patient_id"]) - {""})
        for label, column in zip(cohort.labels, targets.T, strict=True):
            row[f"{label} +"] = int((column >= 0.5).sum())
            row[f"{label} -"] = int((column < 0.5).sum())
            row[f"{label} ?"] = int(np.isnan(column).sum())
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def stratified_parts(names: PerSample, strata: np.ndarray, fractions: tuple[float, ...], seed: int) -> np.ndarray:
    """Deal groups out to parts so that every stratum is divided as asked.

    Args:
        names: `(N,)` group of each row.
        strata: `(N, S)` how much each row counts for each stratum, at least 0.
        fractions: share of each part, adding up to 1; a part of share 0 gets nothing.
        seed: of the draw.

    Returns:
        `(N,)` part of each row. The share of rows of a part differs from its fraction by less than one group.
    """
    codes, distinct = pd.factorize(names, sort=True)
    counts = np.zeros((len(distinct), 1 + strata.shape[1]))
    counts[:, 0] = np.bincount(codes, minlength=len(distinct))
    for column in range(strata.shape[1]):
        counts[:, column + 1] = np.bincount(codes, weights=strata[:, column], minlength=len(distinct))
    order, draw = _two_draws(distinct, seed)
    share = np.asarray(fractions)
    demand = share[:, None] * counts.sum(axis=0)
    part = np.full(len(distinct), -1)
    while (open_groups := part < 0).any():
        left = counts[open_groups, 1:].sum(axis=0)
        stratum = 1 + int(np.argmin(np.where(left > 0, left, np.inf))) if (left > 0).any() else 0
        chosen = np.flatnonzero(open_groups & (counts[:, stratum] > 0))
        chosen = chosen[np.lexsort((order[chosen], -counts[chosen, 0], -counts[chosen, stratum]))]
        for group in chosen:
            part[group] = _part_for(counts[group], demand, share, stratum, draw[group])
            demand[part[group]] -= counts[group]
    return part[codes]


def _two_draws(names: np.ndarray, seed: int) -> np.ndarray:
    """Two numbers in [0, 1) for each name, `(2, N)`, that depend on nothing but the name and the seed."""
    digests = b"".join(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest() for name in names)
    words = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    return (words >> 11).T * 2.0**-53  # 53 bits are what a float64 in [0, 1) holds


def _part_for(count: np.ndarray, demand: np.ndarray, share: np.ndarray, stratum: int, draw: float) -> int:
    """Part with room for the group, drawn with its remaining demand as weight; else the one with the most room."""
    half = 0.5  # demands are fractions of an image, so half an image too many still fits
    room = (share > 0) & (demand[:, 0] >= count[0] - half)
    fits = room & (demand[:, stratum] >= count[stratum] - half)
    if fits.any():
        weight = np.where(fits, np.maximum(demand[:, stratum], 1e-9), 0.0)
        return int(np.searchsorted(np.cumsum(weight), draw * weight.sum(), side="right"))
    key, allowed = (stratum, room) if room.any() else (0, share > 0)
    return int(np.argmax(np.where(allowed, demand[:, key], -np.inf)))


def _strata(cohort: Cohort) -> np.ndarray:
    """Positives of each label, and rows without any label as one stratum more."""
    targets = cohort.targets()
    unlabelled = np.isnan(targets).all(axis=1)
    positives = np.nan_to_num(targets)
    return np.column_stack([positives, unlabelled]) if unlabelled.any() else positives


def _given(cohort: Cohort, options: SplitOptions) -> np.ndarray:
    if options.column:
        require_columns(cohort.table, options.column, error=CohortError, where=cohort.name)
        return split_names(cohort.table[options.column], f"{cohort.name}, column {options.column!r}").to_numpy(object)
    images = cohort.table["image"]
    keys = pd.concat([images, images.str.rsplit("/", n=1).str[-1]], axis=1)
    split = np.full(len(cohort), "", dtype=object)
    for part, path in (options.lists or {}).items():
        listed = read_list(path)
        rows = keys.isin(listed).any(axis=1).to_numpy()
        if (twice := rows & (split != "")).any():
            raise LeakError(f"{int(twice.sum())} images are in two lists ({images[twice].iloc[0]})", where=str(path))
        split[rows] = "train" if part == "train_val" else part
    if (absent := split == "").any():
        first = images[absent].iloc[0]
        raise CohortError(f"{int(absent.sum())} images are in no list (the first: {first})", where=cohort.name)
    return split


def read_list(path: Path) -> set[str]:
    """Image names of a file with one name a line and no header.

    Raises:
        CohortError: it cannot be read.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as stream:
            names = {line.strip().replace("\\", "/") for line in stream} - {""}
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CohortError(f"cannot be read as a list of images ({error})", where=str(path)) from error
    if not names:
        raise CohortError("the list names no image", where=str(path))
    return names


def _refuse_shared(names: PerSample, split: np.ndarray, where: str) -> None:
    parts = pd.DataFrame({"name": names, "part": split}).drop_duplicates()
    if shared := int((parts["name"].value_counts() > 1).sum()):
        raise LeakError(
            f"{shared} groups of images lie in more than one part",
            where=where,
            expected="every patient in one part",
            fix=f"Split anew by fractions, or accept it with --group {NO_GROUP}.",
        )


def _split_notes(cohort: Cohort) -> list[str]:
    counts = split_counts(cohort)
    notes: list[str] = []
    for name, row in counts.iterrows():
        patients = f" of {row['patients']} patients" if "patients" in counts else ""
        notes.append(f"{name}: {row['images']} images{patients}.")
        for label in cohort.labels:
            positives, negatives = row[f"{label} +"], row[f"{label} -"]
            if not (positives and negatives):
                lacks = "no known label" if positives == negatives else "no negatives" if positives else "no positives"
                notes.append(f"{name} has {lacks} of {label}: nothing can be estimated for it there.")
    return notes
