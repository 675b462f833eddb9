"""One-dimensional chaotic maps, as they are used in place of random numbers (Gandomi & Yang 2014, section 3).

One table: name, step, natural range. Values are brought to [0, 1] where the map lives on [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

MapName = Literal[
    "bernoulli",
    "chebyshev",
    "circle",
    "cubic",
    "gauss",
    "icmic",
    "intermittency",
    "liebovitch",
    "logistic",
    "piecewise",
    "sine",
    "singer",
    "sinusoidal",
    "tent",
]
MAP_NAMES: tuple[MapName, ...] = get_args(MapName)


class ChaoticSequence:
    """The orbit of one map, drawn value by value.

    Args:
        name: which map.
        start: first state, inside (0, 1).

    Raises:
        ValueError: the start is not inside (0, 1).
    """

    def __init__(self, name: MapName, start: float = 0.7) -> None:
        if not 0 < start < 1:
            raise ValueError(f"start = {start}; expected a number inside (0, 1)")
        self._map = _MAPS[name]
        self._state = self._start = start

    def take(self, count: int) -> Float[np.ndarray, " count"]:
        """The next values, in [0, 1]."""
        low, high = self._map.low, self._map.high
        values = np.empty(count)
        for i in range(count):
            values[i] = (self._state - low) / (high - low)
            self._state = self._next()
        return values

    def _next(self) -> float:
        following = self._map.step(self._state)
        if self._map.low < following < self._map.high and following != self._state:
            return following
        # in floating point an orbit can land on a border or a fixed point and would stay there for ever
        self._start = (self._start + _GOLDEN) % 1
        return self._start


@dataclass(frozen=True)
class _Map:
    step: Callable[[float], float]
    low: float = 0.0
    high: float = 1.0


_GOLDEN = (math.sqrt(5) - 1) / 2


def _bernoulli(x: float, a: float = 0.4) -> float:
    return x / (1 - a) if x <= 1 - a else (x - (1 - a)) / a


def _piecewise(x: float, p: float = 0.4) -> float:
    x = min(x, 1 - x)  # the map is symmetric about one half
    return x / p if x < p else (x - p) / (0.5 - p)


def _tent(x: float, peak: float = 0.7) -> float:
    return x / peak if x < peak else (1 - x) / (1 - peak)


def _intermittency(x: float, p: float = 0.4, epsilon: float = 1e-3) -> float:
    return epsilon + x + (1 - epsilon - p) / p**2 * x**2 if x <= p else (x - p) / (1 - p)


def _liebovitch(x: float, p1: float = 0.3, p2: float = 0.7) -> float:
    if x <= p1:
        return p2 / p1 * (1 - (p2 - p1)) * x
    if x <= p2:
        return (p2 - x) / (p2 - p1)
    return 1 - ((p2 - 1) - p1 * (p2 - p1)) / (p2 - 1) * (1 - x)


_MAPS: Mapping[MapName, _Map] = {
    "bernoulli": _Map(_bernoulli),
    "chebyshev": _Map(lambda x: math.cos(4 * math.acos(x)), low=-1.0),
    # with the published a = 0.5 and b = 0.2 quasi-periodic rather than chaotic
    "circle": _Map(lambda x: (x + 0.2 - 0.5 / (2 * math.pi) * math.sin(2 * math.pi * x)) % 1),
    "cubic": _Map(lambda x: 2.59 * x * (1 - x**2)),
    # below 1e-6 the fraction of 1 / x is rounding error, and rational starts end there
    "gauss": _Map(lambda x: (1 / x) % 1, low=1e-6),
    "icmic": _Map(lambda x: math.sin(0.7 * math.pi / x), low=-1.0),
    "intermittency": _Map(_intermittency),
    "liebovitch": _Map(_liebovitch),
    "logistic": _Map(lambda x: 4 * x * (1 - x)),
    "piecewise": _Map(_piecewise),
    "sine": _Map(lambda x: math.sin(math.pi * x)),
    "singer": _Map(lambda x: 1.07 * (7.86 * x - 23.31 * x**2 + 28.75 * x**3 - 13.302875 * x**4)),
    "sinusoidal": _Map(lambda x: 2.3 * x**2 * math.sin(math.pi * x)),
    "tent": _Map(_tent),
}
