"""Chaotic bat algorithm: a population search without gradients, and random search to compare it with.

Yang 2010, "A new metaheuristic bat-inspired algorithm", equations 2 to 6; Gandomi & Yang 2014, "Chaotic bat
algorithm": a chaotic map takes the place of one parameter. As in Yang's program a bat is compared with itself, and the
best position seen is always kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from resight.settings import Options
from resight.training.chaotic_maps import ChaoticSequence, MapName

Positions = Float[np.ndarray, "B D"]
Values = Float[np.ndarray, " B"]
Bounds = Float[np.ndarray, " D"]
Objective = Callable[[Positions], Values]


class BatOptions(Options):
    """Chaotic bat algorithm."""

    population: int = Field(default=20, gt=1, description="bats")
    generations: int = Field(default=50, gt=0, description="generations after the first")
    # of the four the one that did best on benchmarks/bat_functions.py
    variant: Literal["plain", "1", "2", "3", "4"] = Field(
        default="2", description="what the map replaces: 1 frequency, 2 velocity coefficient, 3 loudness, 4 pulse rate"
    )
    chaotic_map: MapName = Field(default="sinusoidal", description="which map")
    start: float = Field(default=0.7, gt=0, lt=1, description="first state of the map")
    frequency: tuple[float, float] = Field(
        default=(0.0, 2.0), description="lowest and highest frequency; negative ones fly towards the best bat"
    )
    loudness: float = Field(default=0.95, gt=0, le=1, description="loudness at the start")
    pulse_rate: float = Field(default=0.5, ge=0, le=1, description="pulse rate that is approached")
    alpha: float = Field(default=0.9, gt=0, lt=1, description="a bat that improves gets quieter by this factor")
    gamma: float = Field(default=0.9, gt=0, description="how fast the pulse rate rises")
    local_step: float = Field(
        default=0.05, gt=0, description="size of local steps at loudness 1, as a share of the bounds"
    )


@dataclass(frozen=True)
class Generation:
    """State of a search after one generation; a row of its convergence plot.

    Attributes:
        evaluations: how often the objective had been evaluated.
        best: smallest value so far.
        mean: mean value of the population.
        loudness: mean loudness.
        pulse_rate: mean pulse rate.
    """

    evaluations: int
    best: float
    mean: float
    loudness: float
    pulse_rate: float


@dataclass(frozen=True)
class SearchResult:
    """The best position, its value and how the search came there."""

    position: Bounds
    value: float
    evaluations: int
    history: tuple[Generation, ...]


class BatSearch:
    """One search, step by step: `ask` for positions, `tell` their values.

    Args:
        low: lower bounds.
        high: upper bounds.
        options: settings of the algorithm.
        seed: random seed.
        first: a position known to be good, put into the first population.

    Raises:
        ValueError: bounds of different length, or a lower bound not below its upper bound.
    """

    def __init__(
        self, low: Bounds, high: Bounds, options: BatOptions, *, seed: int, first: Bounds | None = None
    ) -> None:
        self._low, self._high = _checked(low, high)
        self._options = options
        self._rng = np.random.default_rng(seed)
        self._chaos = ChaoticSequence(options.chaotic_map, options.start)
        bats, size = options.population, len(self._low)
        self._candidates = self._rng.uniform(self._low, self._high, (bats, size))
        if first is not None:
            self._candidates[0] = np.clip(first, self._low, self._high)
        self._positions = self._candidates.copy()
        self._velocity = np.zeros((bats, size))
        self._values = np.full(bats, np.inf)
        self._loudness = np.full(bats, options.loudness)
        self._pulse_rate = np.zeros(bats)
        self._told = 0
        self.best_position = self._candidates[0]
        self.best_value = np.inf
        self.history: list[Generation] = []

    def ask(self) -> Positions:
        """Positions to evaluate, `tell` their values next; the first time the random population."""
        if not self._told:
            return self._candidates
        options, bats = self._options, len(self._positions)
        if options.variant == "3":
            self._loudness = self._chaos.take(bats)
        if options.variant == "4":
            self._pulse_rate = self._chaos.take(bats)
        if options.variant == "2":
            step = self._chaos.take(bats)
        else:
            lowest, highest = options.frequency
            share = self._chaos.take(bats) if options.variant == "1" else self._rng.random(bats)
            step = lowest + (highest - lowest) * share
        self._velocity += (self._positions - self.best_position) * step[:, None]
        flown = self._positions + self._velocity
        wander = self._rng.uniform(-1, 1, flown.shape) * self._loudness.mean() * options.local_step
        local = self._rng.random(bats) > self._pulse_rate
        flown[local] = (self.best_position + wander * (self._high - self._low))[local]
        self._candidates = np.clip(flown, self._low, self._high)
        return self._candidates

    def tell(self, values: Values) -> None:
        """Values of the positions last asked for; NaN counts as worst.

        Raises:
            ValueError: not one value per position.
        """
        values = _nan_is_worst(values)
        if values.shape != self._values.shape:
            raise ValueError(f"values of shape {values.shape}; expected {self._values.shape}")
        if not self._told:
            self._values = values
        else:
            options = self._options
            accepted = (values <= self._values) & (self._rng.random(len(values)) < self._loudness)
            self._positions = np.where(accepted[:, None], self._candidates, self._positions)
            self._values = np.where(accepted, values, self._values)
            self._loudness = np.where(accepted, self._loudness * options.alpha, self._loudness)
            risen = options.pulse_rate * (1 - np.exp(-options.gamma * self._told))
            self._pulse_rate = np.where(accepted, risen, self._pulse_rate)
        if values.min() < self.best_value:
            self.best_value = float(values.min())
            self.best_position = self._candidates[values.argmin()].copy()
        self._told += 1
        self.history.append(
            Generation(
                self._told * len(values),
                self.best_value,
                float(self._values.mean()),
                float(self._loudness.mean()),
                float(self._pulse_rate.mean()),
            )
        )


def minimize(
    objective: Objective, low: Bounds, high: Bounds, options: BatOptions, *, seed: int, first: Bounds | None = None
) -> SearchResult:
    """Search for the smallest value of a function of whole populations.

    Args:
        objective: values `(B,)` of positions `(B, D)`.
        low: lower bounds.
        high: upper bounds.
        options: settings of the algorithm.
        seed: random seed.
        first: a position known to be good; the result is never worse.
    """
    search = BatSearch(low, high, options, seed=seed, first=first)
    for _ in range(options.generations + 1):
        search.tell(objective(search.ask()))
    return SearchResult(search.best_position, search.best_value, search.history[-1].evaluations, tuple(search.history))


def random_search(
    objective: Objective, low: Bounds, high: Bounds, *, evaluations: int, batch: int = 20, seed: int
) -> SearchResult:
    """Uniform positions, the best one kept: what any search has to beat at equal evaluations.

    Args:
        objective: values `(B,)` of positions `(B, D)`.
        low: lower bounds.
        high: upper bounds.
        evaluations: positions in all.
        batch: positions at a time, one row of the history each.
        seed: random seed.
    """
    low, high = _checked(low, high)
    rng = np.random.default_rng(seed)
    best_position, best_value, done = low, np.inf, 0
    history: list[Generation] = []
    while done < evaluations:
        positions = rng.uniform(low, high, (min(batch, evaluations - done), len(low)))
        values = _nan_is_worst(objective(positions))
        done += len(values)
        if values.min() < best_value:
            best_position, best_value = positions[values.argmin()], float(values.min())
        history.append(Generation(done, best_value, float(values.mean()), np.nan, np.nan))
    return SearchResult(best_position, best_value, done, tuple(history))


def _checked(low: Bounds, high: Bounds) -> tuple[Bounds, Bounds]:
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if low.ndim != 1 or low.shape != high.shape:
        raise ValueError(f"bounds of shapes {low.shape} and {high.shape}; expected two vectors of one length")
    if not (low < high).all():
        raise ValueError("a lower bound is not below its upper bound")
    return low, high


def _nan_is_worst(values: Values) -> Values:
    return np.where(np.isnan(values), np.inf, values)
