"""What a secure sum costs one site and the server, by the number of sites.

    python benchmarks/secure_sums.py [--numbers 20000]

Processor time of one thread. Writes results/federation/secure_sums.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from federated_runs import write_table

from resight.federated.masks import SiteMasks, opened_sum, usual_threshold
from resight.federated.ring import Ring

SESSION = b"a sum"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def cost(count: int, numbers: int, silent: int) -> tuple[float, float]:
    """Seconds of a site, on average, and of the server, where some fall silent before their numbers come."""
    identities = {f"site-{number:03}": Ed25519PrivateKey.generate() for number in range(count)}
    roster = {name: key.public_key().public_bytes_raw() for name, key in identities.items()}
    threshold, ring = usual_threshold(count), Ring(1.0, count)
    values = {name: np.random.default_rng(place).random(numbers) for place, name in enumerate(identities)}
    sites, spent = timed(lambda: {n: SiteMasks(n, key, roster, SESSION) for n, key in identities.items()})
    keys = {name: site.public for name, site in sites.items()}
    boxes, seconds = timed(lambda: {name: site.shares(keys, threshold) for name, site in sites.items()})
    spent += seconds
    stayed = sorted(sites)[silent:]
    inboxes = {name: {by: box[name] for by, box in boxes.items() if by != name} for name in stayed}
    masked, seconds = timed(lambda: {n: sites[n].masked(ring.encode(values[n]), inboxes[n]) for n in stayed})
    spent += seconds
    gone = sorted(sites.keys() - set(stayed))
    answers, seconds = timed(lambda: {name: sites[name].open(stayed, gone) for name in stayed})
    spent += seconds
    total, server = timed(lambda: ring.decode(opened_sum(masked, keys, answers, threshold, SESSION)))
    exact = np.sum([values[name] for name in stayed], axis=0)
    assert np.abs(total - exact).max() <= ring.error + count * np.finfo(float).eps * count
    return spent / count, server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--numbers", type=int, default=20_000)
    numbers = parser.parse_args().numbers
    lines = [
        "# What a secure sum costs",
        "",
        f"Processor time of one thread for a sum of {numbers:,} numbers, by `benchmarks/secure_sums.py`.",
        "",
        "| sites | silent | a site | server |",
        "|---:|---:|---:|---:|",
    ]
    cost(3, numbers, 0)  # what is imported once
    for count in (3, 10, 30, 100, 300):
        for silent in (0, count // 10) if count >= 10 else (0,):
            site, server = cost(count, numbers, silent)
            lines.append(f"| {count} | {silent} | {1000 * site:.1f} ms | {1000 * server:.1f} ms |")
    write_table("secure_sums.md", lines)


if __name__ == "__main__":
    main()
