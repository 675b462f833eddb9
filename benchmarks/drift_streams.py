"""What streams with and without a planted change say of a watch: how soon it speaks, and how often for nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def arguments(name: str, about: str | None) -> argparse.ArgumentParser:
    """The command line of a study of streams, whose result is kept under its name."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return parser


def summary(changed: Sequence[int | None], unchanged: Sequence[int | None], *, quiet: int, unit: str) -> dict[str, Any]:
    """Counts, and quantiles of the delay.

    Args:
        changed: number of the alarm, from 1, in each stream that changes; None where there was none.
        unchanged: the same of streams without a change.
        quiet: length of a stream before its change.
        unit: what is counted.
    """
    delays = [alarm - quiet for alarm in changed if alarm is not None and alarm > quiet]
    return {
        "streams": len(changed),
        "false_alarms_without_change": sum(alarm is not None for alarm in unchanged),
        "alarms_before_the_change": sum(alarm is not None and alarm <= quiet for alarm in changed),
        "caught": len(delays),
        f"{unit}_until_caught": {f"p{q}": float(np.percentile(delays, q)) for q in (50, 90, 100)} if delays else {},
    }
