"""Bootstrap by patient without re-computing: sums by patient times how often each patient was drawn.

Images of one patient are not independent, so patients are drawn, with all their images (Field & Welsh 2007,
"Bootstrapping clustered data"). Every metric here depends on the rows only through sums, and a sum over a
replicate is the sum by patient times how often the patient was drawn: sort once, then one sparse product a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_array

from resight.types import MetricValue

Replicates = Float[np.ndarray, " R"]
Finish = Callable[[Float[np.ndarray, "K R"]], Mapping[str, Replicates]]

_AT_ONCE = 16
"""Replicates of one product: wide enough for vector instructions, narrow enough for the cache."""
_LEAST_DEFINED = 0.5
"""Share of replicates that must be defined for a percentile interval to be given."""


@dataclass(frozen=True)
class Statistic:
    """Metrics that depend on the rows only through sums over them.

    Attributes:
        contributions: what each of n rows adds to each of K sums.
        finish: sums `(K, R)` to values `(R,)` by name; NaN where a value is not defined.
    """

    contributions: csr_array
    finish: Finish

    def estimate(self, weights: Float[np.ndarray, " n"] | None = None) -> dict[str, float]:
        """The metrics of all rows.

        Args:
            weights: how often each row counts; once when not given.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = self.contributions.sum(axis=1) if weights is None else self.contributions @ weights
            values = self.finish(np.asarray(sums, dtype=np.float64)[:, None])
        return {name: float(value[0]) for name, value in values.items()}

    def by_patient(self, patients: Int[np.ndarray, " n"], n_patients: int) -> Statistic:
        """The same metrics with one column a patient instead of one a row.

        Args:
            patients: index of the patient of each row.
            n_patients: number of patients, also of those without a row here.
        """
        rows = np.arange(len(patients))
        membership = csr_array((np.ones(len(patients)), (rows, patients)), shape=(len(patients), n_patients))
        return replace(self, contributions=csr_array(self.contributions @ membership))


def patient_index(groups: Shaped[np.ndarray, " N"]) -> tuple[Int[np.ndarray, " N"], int]:
    """Number the patients in the order of their names, so that the order of the rows does not matter.

    Args:
        groups: patient of each row.

    Returns:
        The number of each row's patient and how many patients there are.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return index, len(names)


def bootstrap(
    statistics: Sequence[Statistic], n_patients: int, *, replicates: int, seed: int
) -> list[dict[str, Replicates]]:
    """Replicates of many statistics on the same draws of patients.

    Args:
        statistics: made `by_patient`.
        n_patients: number of patients drawn, with replacement, in each replicate.
        replicates: R.
        seed: of the draws.

    Returns:
        For each statistic its metrics, `(R,)` each; NaN where a replicate leaves the metric undefined, and where there
        is one patient only, who says nothing of others.
    """
    parts: list[dict[str, list[Replicates]]] = [{} for _ in statistics]
    for weights in _draws(n_patients, replicates, seed):
        for statistic, part in zip(statistics, parts, strict=True):
            with np.errstate(invalid="ignore", divide="ignore"):
                for name, values in statistic.finish(statistic.contributions @ weights).items():
                    part.setdefault(name, []).append(values)
    drawn = [{name: np.concatenate(values) for name, values in part.items()} for part in parts]
    if n_patients < 2:
        return [{name: np.full(len(values), np.nan) for name, values in part.items()} for part in drawn]
    return drawn


def with_percentiles(value: MetricValue, replicates: Replicates, confidence: float) -> MetricValue:
    """Add the percentile interval to a value; left away where over half of the replicates are undefined."""
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(value.value) or len(defined) < _LEAST_DEFINED * len(replicates) or len(defined) == 0:
        return value
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return replace(value, low=float(low), high=float(high), interval="bootstrap by patient")


def _draws(n_patients: int, replicates: int, seed: int) -> Iterator[Float[np.ndarray, "P R"]]:
    """How often each patient was drawn, a block of replicates at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, _AT_ONCE):
        count = min(_AT_ONCE, replicates - start)
        drawn: np.ndarray[Any, Any] = rng.integers(n_patients, size=(count, n_patients))
        drawn += np.arange(count)[:, None] * n_patients
        times = np.bincount(drawn.ravel(), minlength=count * n_patients).reshape(count, n_patients)
        yield np.ascontiguousarray(times.T, dtype=np.float64)
