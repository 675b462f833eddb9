"""Milliseconds of one image alone: the plain network against the gated one, taking turns image by image.

    python benchmarks/adaptive_time.py --scratch runs/adaptive --out benchmarks/results/adaptive/time.json

Takes the networks of seed 0 that `benchmarks/adaptive.py` trained below `--scratch`; median of 3 x 64 test images.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from adaptive import cohorts, settings_for
from safetensors.torch import load_file

from resight.blocks import watching_gates
from resight.experiments.members import new_classifier
from resight.experiments.prepare import prepare
from resight.settings import write_json
from resight.types import silent

THRESHOLDS = (0.0, 0.75, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, default=Path("runs/adaptive"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adaptive/time.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, cohort in cohorts(given.scratch).items():
        networks = {}
        for model in ("plain", "gates"):
            settings = settings_for(cohort, model, 0, given.scratch / "store" / name)
            prepared = prepare(settings, given.scratch / "store" / name, silent)
            network = new_classifier(settings, prepared, 0)
            network.load_state_dict(load_file(given.scratch / f"{name}-{model}-0" / "member-0" / "best.safetensors"))
            networks[model] = network.eval()
        rows = prepared.rows[prepared.in_split("test")][:64]
        images = [torch.from_numpy(np.array(prepared.store[int(row)])[None]) for row in rows]
        ways = {"plain": (networks["plain"], 0.5)}
        ways |= {f"gates at {threshold}": (networks["gates"], threshold) for threshold in THRESHOLDS}
        took = {way: [] for way in ways}
        with torch.inference_mode():
            for repeat in range(4):
                for image in images:
                    for way, (network, threshold) in ways.items():
                        began = time.perf_counter()
                        with watching_gates(threshold):
                            network(image)
                        if repeat:  # the first one warms up
                            took[way].append(1000 * (time.perf_counter() - began))
        found[name] = {way: round(float(np.median(values)), 3) for way, values in took.items()}
        print(name, found[name], flush=True)
    write_json(given.out, found)


if __name__ == "__main__":
    main()
