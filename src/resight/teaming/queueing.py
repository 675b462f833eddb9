"""Mean waiting times of queues that have a formula: what the worklist simulation is checked against.

Erlang 1917 for several readers; Cobham, Operations Research 1954, for priorities without interruption. Studies arrive
at random (Poisson) and reading times are exponential with one mean for all.
"""

from __future__ import annotations

import math


def wait_probability(arrivals: float, service: float, readers: int) -> float:
    """Chance that an arriving study finds every reader busy (Erlang's C formula).

    Args:
        arrivals: per unit of time.
        service: studies one reader reads per unit of time.
        readers: how many read at the same time.

    Raises:
        ValueError: more work arrives than the readers can do.
    """
    load = arrivals / service
    if load >= readers:
        raise ValueError(f"a load of {load:g} for {readers} readers; the queue would grow without end")
    blocked = 1.0
    for servers in range(1, readers + 1):  # Erlang's B by its recursion, which does not overflow
        blocked = load * blocked / (servers + load * blocked)
    return readers * blocked / (readers - load * (1 - blocked))


def mean_waits(arrivals: tuple[float, ...], service: float, readers: int) -> tuple[float, ...]:
    """Mean time from arrival to the start of reading, by priority class, most urgent first.

    Args:
        arrivals: of each class, per unit of time. One class alone is first come, first served.
        service: studies one reader reads per unit of time, the same for all classes.
        readers: how many read at the same time.

    Raises:
        ValueError: more work arrives than the readers can do.
    """
    capacity = readers * service
    start = wait_probability(sum(arrivals), service, readers) / capacity
    waits: list[float] = []
    before = 0.0
    for rate in arrivals:
        upto = before + rate / capacity
        waits.append(start / ((1 - before) * (1 - upto)) if rate else math.nan)
        before = upto
    return tuple(waits)
