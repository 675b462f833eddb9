"""Sites for a simulation: one cohort divided by an attribute or by chance, with planted differences where asked for.

Label skew: shares of each label's patients by a symmetric Dirichlet draw (Hsu et al. 2019). Scanner shift: the grey
values of each site go through a curve of its own (gamma, gain, offset), so that the same anatomy looks different.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from resight.cohorts.groups import group_names
from resight.errors import CohortError, nearest
from resight.experiments.prepare import Prepared
from resight.federated.settings import FederatedSettings
from resight.federated.site_data import SiteData
from resight.preprocess import Store
from resight.training.data import TrainingData
from resight.types import Cohort, PreparedImage

_GAMMA, _GAIN, _OFFSET = 1.6, 0.35, 0.25
"""Strongest curve: gamma up to 1.6 or its inverse, contrast down by 35 %, brightness up by a quarter of full scale."""


def make_sites(settings: FederatedSettings, prepared: Prepared) -> dict[str, SiteData]:
    """Divide a prepared cohort.

    Args:
        settings: the `simulation` section says how; `training.seed` draws.
        prepared: the cohort; splits stay as they are.

    Raises:
        CohortError: no such attribute, one site only, or a site without training images.
    """
    simulation, seed = settings.simulation, settings.split.seed
    of = (
        _by_column(prepared.cohort, simulation.column) if simulation.column else _drawn(settings, prepared.cohort, seed)
    )
    names = sorted({str(name) for name in of})
    if len(names) < 2:
        raise CohortError(f"one site only: {names[0]!r}", where="simulation", expected="at least two")
    sites: dict[str, SiteData] = {}
    for number, name in enumerate(names):
        data = SiteData.of(prepared, of == name)
        if not len(data.samples["train"]):
            raise CohortError(f"site {name!r} has no training images", where="simulation", fix="Use fewer sites.")
        sites[name] = _shifted(data, scanner_curve(simulation.scanner_shift, number, len(names)))
    return sites


def scanner_curve(strength: float, number: int, of: int) -> np.ndarray[Any, Any]:
    """Grey value out for every grey value in, `(256,) uint8`.

    Args:
        strength: 0 leaves grey values alone, 1 is the strongest.
        number: site, from 0; sites lie evenly between a dark, steep curve and a bright, flat one.
        of: number of sites.
    """
    place = strength * (2 * number / max(of - 1, 1) - 1)
    grey = np.arange(256) / 255.0
    curve = grey ** (_GAMMA ** (-place))
    curve = curve * (1 - _GAIN * max(place, 0.0)) + _OFFSET * max(place, 0.0)
    return np.rint(255 * curve.clip(0, 1)).astype(np.uint8)


def together(sites: dict[str, SiteData]) -> SiteData:
    """All sites' images as one, as they look at their sites: for the pooled baseline."""
    splits = ("train", "validation", "test")
    samples = {split: _joined([data.samples[split] for data in sites.values()]) for split in splits}
    cohorts = {
        split: replace(
            next(iter(sites.values())).cohorts[split],
            table=pd.concat([data.cohorts[split].table for data in sites.values()], ignore_index=True),
        )
        for split in splits
    }
    return SiteData(samples, cohorts)


def _by_column(cohort: Cohort, column: str) -> np.ndarray[Any, Any]:
    if column not in cohort.table.columns:
        fix = nearest(column, cohort.attributes)
        raise CohortError(f"no column {column!r}", where="simulation.column", fix=fix)
    values = cohort.table[column]
    if values.isna().any():
        raise CohortError(f"{int(values.isna().sum())} images have no {column!r}", where="simulation.column")
    return values.astype(str).to_numpy()


def _drawn(settings: FederatedSettings, cohort: Cohort, seed: int) -> np.ndarray[Any, Any]:
    simulation = settings.simulation
    rng = np.random.default_rng((seed, 5))
    groups = np.asarray(group_names(cohort, settings.split.group, settings.split.clusters))
    patients, owner = np.unique(groups, return_inverse=True)
    targets = np.nan_to_num(cohort.targets())
    # A patient's kind: its most frequent label, or none.
    sums = np.stack([np.bincount(owner, column, minlength=len(patients)) for column in targets.T], axis=1)
    kind = np.where(sums.max(axis=1) > 0, sums.argmax(axis=1), targets.shape[1])
    site = np.zeros(len(patients), np.int64)
    for one in np.unique(kind):
        members = rng.permutation(np.flatnonzero(kind == one))
        shares = np.full(simulation.sites, 1 / simulation.sites)
        if simulation.label_skew:
            shares = rng.dirichlet(np.full(simulation.sites, simulation.label_skew))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for number, part in enumerate(np.split(members, cuts)):
            site[part] = number
    width = len(str(simulation.sites))
    return np.array([f"site-{number + 1:0{width}}" for number in range(simulation.sites)])[site[owner]]


@dataclass(frozen=True)
class SiteStore:
    """A store whose grey values go through a site's curve when they are read."""

    store: Any
    rows: np.ndarray[Any, Any]
    curve: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PreparedImage:
        """One image as the site's scanner shows it."""
        return self.curve[self.store[int(self.rows[index])]]


@dataclass(frozen=True)
class _Chain:
    """Several sites' stores one after the other."""

    parts: tuple[SiteStore, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> PreparedImage:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


def _shifted(data: SiteData, curve: np.ndarray[Any, Any]) -> SiteData:
    return replace(
        data,
        samples={
            split: replace(one, store=_as_store(SiteStore(one.store, one.rows, curve)), rows=np.arange(len(one)))
            for split, one in data.samples.items()
        },
    )


def _joined(parts: list[TrainingData]) -> TrainingData:
    chain = _Chain(tuple(part.store for part in parts))  # pyright: ignore[reportArgumentType]
    groups = [part.groups for part in parts if part.groups is not None]
    return replace(
        parts[0],
        store=_as_store(chain),
        rows=np.arange(len(chain)),
        targets=np.concatenate([part.targets for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
        names=tuple(name for part in parts for name in part.names),
        groups=np.concatenate(groups) if groups else None,
    )


def _as_store(reader: Any) -> Store:
    """Training only reads images by number, so that anything which does that serves as a store."""
    return reader
