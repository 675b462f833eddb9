"""How long studies wait on a clinic's day, when they come by chance and more of them in the morning than at night.

    python benchmarks/capacity_arrivals.py --core-rate 34.7 --out benchmarks/results/capacity/arrivals.json

Studies come as a Poisson process whose rate follows the hour (`BY_HOUR`, assumed), on 250 working days a year;
whichever core is free takes the next one. Every core is lost once in 20 core-hours of work, begins its study anew and
is back after a minute. Seeds 0, 1 and 2, one day each. The queue is checked against Erlang's formula where that holds.
"""

import argparse
import heapq
import json
import math
from pathlib import Path

import numpy as np

SEEDS = 3
DAYS = 250
BY_HOUR = (1, 1, 1, 1, 1, 1, 2, 5, 8, 10, 10, 9, 7, 8, 8, 7, 6, 4, 3, 2, 2, 1, 1, 1)
"""Share of a day's studies by the hour they come in, in percent of their sum: a chosen shape, not a measured one."""
LOST_PER_HOUR, RESTART_S = 0.05, 60.0
WAIT_S = 60.0
"""The longest wait that 95 of 100 studies may have for a number of cores to be called enough."""


def arrivals(rng: np.random.Generator, studies: float) -> np.ndarray:
    """Seconds since midnight at which studies come, `studies` on average."""
    shares = np.asarray(BY_HOUR) / sum(BY_HOUR)
    counts = rng.poisson(studies * shares)
    return np.sort(np.concatenate([3600 * (hour + rng.random(count)) for hour, count in enumerate(counts)]))


def waits(
    rng: np.random.Generator, came: np.ndarray, service: np.ndarray, cores: int, lost_per_hour: float
) -> np.ndarray:
    """Seconds that each study waits until a core takes it up for the last time.

    Args:
        rng: draws losses.
        came: when studies come, rising.
        service: seconds of work of each.
        cores: how many.
        lost_per_hour: how often a core is lost in an hour of work.
    """
    free = [0.0] * cores
    found = np.empty(len(came))
    for number, (now, needed) in enumerate(zip(came, service, strict=True)):
        begin = max(now, heapq.heappop(free))
        while lost_per_hour and (lost := rng.exponential(3600 / lost_per_hour)) < needed:
            begin += lost + RESTART_S
        found[number] = begin - now
        heapq.heappush(free, begin + needed)
    return found


def erlang_wait(rate: float, service_s: float, cores: int) -> float:
    """Mean wait where arrivals and service times are exponential (Erlang 1917, formula C)."""
    load = rate * service_s
    terms = [load**k / math.factorial(k) for k in range(cores)]
    last = load**cores / math.factorial(cores) * cores / (cores - load)
    return last / (sum(terms) + last) * service_s / (cores - load)


def check() -> list[dict[str, float]]:
    """The simulated mean wait beside Erlang's, at three loads."""
    rows = []
    for cores, load in ((1, 0.5), (4, 3.0), (16, 14.0)):
        rng = np.random.default_rng(0)
        came = np.cumsum(rng.exponential(1 / load, 400_000))
        found = waits(rng, came, rng.exponential(1.0, len(came)), cores, 0.0)
        rows.append(
            {"cores": cores, "load": load, "erlang_s": erlang_wait(load, 1.0, cores), "simulated_s": found.mean()}
        )
    return rows


def day(studies_a_year: int, images: int, cores: int, core_rate: float) -> dict[str, float]:
    seconds = images / core_rate
    found = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        came = arrivals(rng, studies_a_year / DAYS)
        found.append(waits(rng, came, np.full(len(came), seconds), cores, LOST_PER_HOUR))
    every = np.concatenate(found)
    busiest = max(BY_HOUR) / sum(BY_HOUR) * studies_a_year / DAYS / 3600 * seconds
    quantiles = np.quantile(every, (0.5, 0.95, 0.99))
    return {
        "studies_a_year": studies_a_year,
        "images_a_study": images,
        "cores": cores,
        "busy_in_the_busiest_hour": busiest / cores,
        "wait_p50_s": quantiles[0],
        "wait_p95_s": quantiles[1],
        "wait_p99_s": quantiles[2],
        "wait_max_s": every.max(),
    }


def enough(studies_a_year: int, images: int, core_rate: float) -> list[dict[str, float]]:
    """One core less than enough, enough, and a quarter more."""
    load = max(BY_HOUR) / sum(BY_HOUR) * studies_a_year / DAYS / 3600 * images / core_rate
    cores = max(1, math.floor(0.8 * load))
    while day(studies_a_year, images, cores, core_rate)["wait_p95_s"] > WAIT_S:
        cores += max(1, cores // 50)
    chosen = sorted({max(1, cores - max(1, cores // 50)), cores, math.ceil(1.25 * cores)})
    return [day(studies_a_year, images, number, core_rate) for number in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core-rate", type=float, required=True, help="images per second of one core, all stages")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [
        row
        for studies in (1_000_000, 100_000_000)
        for images in (1, 300)
        for row in enough(studies, images, given.core_rate)
    ]
    for row in rows:
        print({name: round(float(value), 2) for name, value in row.items()}, flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"core_rate": given.core_rate, "check": check(), "rows": rows}, indent=1, default=float)
    given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
