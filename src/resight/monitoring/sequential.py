"""Watching case after case with a false-alarm rate that holds however long one watches.

A conformal test martingale (Vovk, Gammerman & Shafer 2022, chapter 8): as long as incoming cases are exchangeable with
the reference, the rank of every new value among all before it is uniform and independent of the past. Bets against
that (the simple jumper, section 8.2.4, here with five stakes) multiply a capital that starts at 1 and by Ville's
inequality reaches `1 / alpha` with a chance of at most alpha. Capitals of all columns are averaged, which is again such
a capital, so the number of columns needs no further correction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

_STAKES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""Slopes of the bets; 2 doubles the capital of a case that outranks all before."""
_JUMP = 0.01
"""Share of the capital that is spread anew over the stakes after each case, so that a late change is followed."""
_NAMED = 5
"""Most columns that an alarm names."""


@dataclass(frozen=True)
class Alarm:
    """When the capital first reached its limit.

    Attributes:
        case: number of the incoming case, from 1; None where it never did.
        capital: largest capital reached.
        limit: `1 / alpha`.
        columns: what gained most by then, most first.
    """

    case: int | None
    capital: float
    limit: float
    columns: tuple[str, ...]


def watch(
    before: pd.DataFrame, now: pd.DataFrame, *, alpha: float, seed: int = 0
) -> tuple[Alarm, Float[np.ndarray, " n"]]:
    """Bet against exchangeability, column by column and case by case.

    Args:
        before: the reference.
        now: incoming cases in the order they arrived, with the same columns or some of them.
        alpha: chance of ever raising a false alarm.
        seed: of the draws that break ties.

    Returns:
        The alarm, and the average capital after each case.
    """
    rng = np.random.default_rng(seed)
    names: list[str] = []
    capitals: list[Float[np.ndarray, " n"]] = []
    for name in map(str, now.columns):
        for stream, (old, new) in _streams(name, before[name], now[name]).items():
            ranks = conformal_ranks(old, new, rng)
            # a shift moves the ranks to one side, a wider or narrower spread moves them to both or away from them
            for what, p in ((stream, ranks), (f"spread of {stream}", 2 * np.abs(ranks - 0.5))):
                names.append(what)
                capitals.append(jumper(p))
    if not capitals:
        return Alarm(None, 1.0, 1 / alpha, ()), np.ones(len(now))
    return alarm_of(np.stack(capitals), names, alpha)


def alarm_of(
    capitals: Float[np.ndarray, "K n"], names: list[str], alpha: float
) -> tuple[Alarm, Float[np.ndarray, " n"]]:
    """When the mean capital of several bets reaches its limit, and the mean after each case.

    Args:
        capitals: of each bet after each case; 1 before the first.
        names: of the bets.
        alpha: chance of ever raising a false alarm.
    """
    mean = capitals.mean(axis=0)
    largest, limit = float(mean.max(initial=1.0)), 1 / alpha
    reached = np.flatnonzero(mean >= limit)
    if not len(reached):
        return Alarm(None, largest, limit, ()), mean
    at = int(reached[0])
    gained = capitals[:, at]
    best = [names[row] for row in np.argsort(-gained, kind="stable") if gained[row] > 1]
    return Alarm(at + 1, largest, limit, tuple(best[:_NAMED])), mean


def conformal_ranks(
    before: Float[np.ndarray, " m"], now: Float[np.ndarray, " n"], rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Rank of each new value among all values before it and itself, on the scale 0 to 1, ties broken by chance.

    Args:
        before: the reference, without NaN.
        now: new values in order; NaN gives a rank of 0.5, which nobody can win on, and joins no comparison.
        rng: breaks ties.
    """
    bag = sorted(before.tolist())
    ranks = np.full(len(now), 0.5)
    draws = rng.random(len(now))
    for place, value in enumerate(now.tolist()):
        if np.isnan(value):
            continue
        low, high = bisect_left(bag, value), bisect_right(bag, value)
        ranks[place] = (low + draws[place] * (high - low + 1)) / (len(bag) + 1)
        insort(bag, value)
    return ranks


def jumper(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Capital after each case of a gambler who bets that `p` is not uniform."""
    stakes = np.full(len(_STAKES), 1 / len(_STAKES))
    capital = np.empty(len(p))
    for place, value in enumerate(p.tolist()):
        stakes = spread_anew(stakes) * np.maximum(1 + _STAKES * (value - 0.5), 0.0)
        capital[place] = stakes.sum()
    return capital


def spread_anew(stakes: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """Move a small share of the capital evenly to all bets, so that one that has lost can win later."""
    return (1 - _JUMP) * stakes + _JUMP * stakes.sum() / len(stakes)


def _streams(
    name: str, before: pd.Series[Any], now: pd.Series[Any]
) -> dict[str, tuple[Float[np.ndarray, " m"], Float[np.ndarray, " n"]]]:
    """A column of numbers as it is; of categories one indicator each, of two categories one is enough."""
    if pd.api.types.is_numeric_dtype(before.dtype):
        return {name: (before.dropna().to_numpy(dtype=float), now.to_numpy(dtype=float))}
    values = sorted(set(before) | set(now))
    if len(values) == 2:
        values = values[1:]
    return {
        f"{name} = {value}": ((before == value).to_numpy(dtype=float), (now == value).to_numpy(dtype=float))
        for value in values
    }
