"""What studies of federations have in common: results of a seed that are computed once, and intervals over seeds."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

EXPERIMENTS = Path(__file__).parent / "experiments"
RESULTS = Path(__file__).parent / "results" / "federation"


class Kept:
    """Results by name in one file, so that a study goes on where it was interrupted.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._path = RESULTS / name
        self.results: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def keep(self, **results: Any) -> None:
        """Add results and write the file."""
        self.results |= results
        RESULTS.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n")


def write_table(name: str, lines: list[str]) -> None:
    """Write a page of tables, and show it."""
    text = "\n".join(lines) + "\n"
    (RESULTS / name).write_text(text)
    print(text)


def interval(values: list[float]) -> str:
    """Mean over seeds with the 95 % t-interval; the mean alone of one value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


def arguments(work: str) -> argparse.Namespace:
    """The command line of a study; `work` names its folder for what is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cxr_pneumonia_kermany"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / work)
    return parser.parse_args()
