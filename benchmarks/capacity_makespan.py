"""How long many workers take for many parts, when parts differ, workers are slow, and workers are lost.

    python benchmarks/capacity_makespan.py --core-rate 34.7 --out benchmarks/results/capacity/makespan.json

Parts go to workers as Ray Data hands them out, the next one to whoever is free first; seeds 0, 1 and 2.
"""

import argparse
import heapq
import json
import math
from pathlib import Path

import numpy as np

SEEDS = 3


def makespan(
    rng: np.random.Generator,
    *,
    parts: int,
    workers: int,
    part_s: float,
    part_spread: float,
    slow_share: float,
    slow_factor: float,
    lost_per_hour: float,
    restart_s: float,
) -> float:
    """Hours until the last part is finished, each going to the worker that is free first.

    Args:
        rng: draws what differs.
        parts: how many.
        workers: how many, one core each.
        part_s: mean seconds of a part.
        part_spread: standard deviation of parts by their mean (log-normal).
        slow_share: share of workers that are slow.
        slow_factor: how much longer they take.
        lost_per_hour: how often a worker is lost in an hour of work; its part is begun anew.
        restart_s: until it is back.
    """
    sigma = math.sqrt(math.log1p(part_spread**2))
    factors = np.where(rng.random(workers) < slow_share, slow_factor, 1.0)
    free = [(0.0, worker) for worker in range(workers)]
    heapq.heapify(free)
    end = 0.0
    durations = part_s * rng.lognormal(-(sigma**2) / 2, sigma, parts)
    for duration in durations:
        now, worker = heapq.heappop(free)
        needed = duration * factors[worker]
        while lost_per_hour and (lost := rng.exponential(3600 / lost_per_hour)) < needed:
            now += lost + restart_s
        now += needed
        end = max(end, now)
        heapq.heappush(free, (now, worker))
    return end / 3600


def simulate(core_rate: float) -> list[dict[str, float]]:
    """Efficiency (work by cores by hours) of 1 M and 100 M images, over sizes of part and what goes wrong."""
    troubles = {
        "nothing": {"slow_share": 0.0, "slow_factor": 1.0, "lost_per_hour": 0.0},
        "5 % of workers half as fast": {"slow_share": 0.05, "slow_factor": 2.0, "lost_per_hour": 0.0},
        "that, and a worker lost every 20 core-hours": {"slow_share": 0.05, "slow_factor": 2.0, "lost_per_hour": 0.05},
    }
    rows = []
    for images, workers in ((1_000_000, 16), (1_000_000, 128), (100_000_000, 256), (100_000_000, 2048)):
        for part_images in (256, 1024, 8192) if images < 10_000_000 else (1024, 8192):
            parts = math.ceil(images / part_images)
            part_s = part_images / core_rate
            ideal = images / core_rate / workers / 3600
            for trouble, values in troubles.items():
                hours = [
                    makespan(
                        np.random.default_rng(seed),
                        parts=parts,
                        workers=workers,
                        part_s=part_s,
                        part_spread=0.2,
                        restart_s=60.0,
                        **values,
                    )
                    for seed in range(SEEDS)
                ]
                rows.append(
                    {
                        "images": images,
                        "workers": workers,
                        "part_images": part_images,
                        "trouble": trouble,
                        "ideal_hours": ideal,
                        "hours": float(np.mean(hours)),
                        "worst_hours": max(hours),
                        "efficiency": ideal / float(np.mean(hours)),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core-rate", type=float, required=True, help="images per second of one core, all stages")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    rows = simulate(given.core_rate)
    given.out.write_text(json.dumps({"core_rate": given.core_rate, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
