"""The watch: uniform ranks, a capital nobody can grow without drift, and how soon a change is caught."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from resight.monitoring.sequential import conformal_ranks, jumper, watch


def test_ranks_of_exchangeable_values_are_uniform_and_independent(rng: np.random.Generator) -> None:
    ranks = np.concatenate(
        [conformal_ranks(rng.integers(0, 4, 30) * 1.0, rng.integers(0, 4, 50) * 1.0, rng) for _ in range(60)]
    )
    assert kstest(ranks, "uniform").pvalue > 0.01
    pairs = ranks.reshape(60, 50)
    assert abs(np.corrcoef(pairs[:, :-1].ravel(), pairs[:, 1:].ravel())[0, 1]) < 0.05


def test_missing_values_win_and_lose_nothing(rng: np.random.Generator) -> None:
    assert conformal_ranks(np.arange(5.0), np.array([np.nan, np.nan]), rng).tolist() == [0.5, 0.5]


def test_the_capital_is_a_martingale(rng: np.random.Generator) -> None:
    last = [jumper(rng.random(20))[-1] for _ in range(3000)]
    assert np.mean(last) == pytest.approx(1.0, abs=4 * np.std(last) / np.sqrt(3000))
    assert jumper(np.full(20, 1.0))[-1] > 1000


def table(rng: np.random.Generator, count: int, shift: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(
        {"x": rng.normal(shift, 1, count), "y": rng.normal(0, 1 + shift, count), "z": rng.choice(["a", "b"], count)}
    )


def test_false_alarms_stay_below_what_is_promised() -> None:
    alarms = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        alarms += watch(table(rng, 100), table(rng, 250), alpha=0.1)[0].case is not None
    assert alarms <= 15


def test_a_change_after_a_quiet_time_is_caught_and_named(rng: np.random.Generator) -> None:
    now = pd.concat([table(rng, 100), table(rng, 100, shift=2.0)], ignore_index=True)
    alarm, course = watch(table(rng, 300), now, alpha=0.01)
    assert alarm.case is not None
    assert 100 < alarm.case < 130
    assert "x" in alarm.columns
    assert course[alarm.case - 1] >= 100 > course[: alarm.case - 1].max()


def test_a_wider_spread_is_a_change(rng: np.random.Generator) -> None:
    before, now = (pd.DataFrame({"x": rng.normal(0, s, 200)}) for s in (1, 3))
    alarm, _ = watch(before, now, alpha=0.01)
    assert alarm.columns[0] == "spread of x"


def test_no_column_is_no_alarm() -> None:
    alarm, course = watch(pd.DataFrame({"x": [1.0]}), pd.DataFrame(index=range(3)), alpha=0.01)
    assert (alarm.case, course.tolist()) == (None, [1.0, 1.0, 1.0])


def test_a_bet_that_has_lost_can_win_later() -> None:
    """Long wins to one side leave the opposite bet poor; what is spread anew lets it follow a turn soon."""
    capital = jumper(np.concatenate([np.full(60, 0.9), np.full(60, 0.1)]))
    assert capital[59] > 1e6
    assert capital[-1] > capital[59]
