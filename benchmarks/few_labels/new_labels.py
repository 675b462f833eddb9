"""Labels that nothing saw: two networks, each judged on the half of the labels it was not taught, in one table.

    python benchmarks/few_labels/new_labels.py benchmarks/results/few_labels/zeroshot

Reads `..._first.json` and `..._second.json` of `resight zeroshot` and writes `....json`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import t

from resight.settings import write_json


def joined(stem: str) -> dict[str, object]:
    """Every label from the network it is new to, and the mean over labels with Student's interval."""
    halves = [json.loads(Path(f"{stem}_{half}.json").read_text()) for half in ("first", "second")]
    labels = [one for half in halves for one in half["labels"] if one["new_to_network"]]
    values = np.array([one["auroc"]["value"] for one in labels if one["auroc"]["value"] is not None])
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = {"value": values.mean(), "low": values.mean() - half, "high": values.mean() + half, "n": len(values)}
    return {"labels": labels, "mean": mean, "harmonic": [one["harmonic"] for one in halves]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stems", nargs="+")
    for stem in parser.parse_args().stems:
        found = joined(stem)
        write_json(Path(f"{stem}.json"), found)
        print(stem, found["mean"])


if __name__ == "__main__":
    main()
