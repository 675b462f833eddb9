"""Does the evidence lie in the planted lesions: the pointing game of a run on a volume phantom.

    python benchmarks/volume_pointing.py runs/volume_ct runs/phantom_ct benchmarks/results/volumes/ct

Explainer and stage are chosen on the validation volumes and judged on the test volumes, on the network's grid, against
a map that always points at the middle, against one that points at the brightest voxel, and against the same explainer
over a network whose weights are drawn anew. The peak is also sent back to the voxels of the files and its distance to
the nearest lesion voxel measured in millimetres. Writes pointing.json beside the run's figures.
"""

from __future__ import annotations

import copy
import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from resight.explain import References, build_explainer, centre_map, explain_image, localise
from resight.imaging import VOI, read
from resight.models import Classifier, load_bundle

CANDIDATES = tuple(product(("gradcam", "layercam", "gradcam++"), (-1, -2, -3)))
AS_STORED = VOI(mode="fixed", center=0.5, width=1.0)


def main(run: Path, phantom: Path, out: Path) -> None:
    torch.set_num_threads(1)
    bundle = load_bundle(run / "bundle")
    model, recipe = bundle.members[0], bundle.manifest.recipe
    label = bundle.manifest.labels[0]
    table = pd.read_csv(phantom / "cohort.csv")
    ill = table[table[label] == 1]
    prepared = {split: _prepared(ill[ill["split"] == split], phantom, recipe) for split in ("validation", "test")}

    def maps_of(network: Classifier, images: torch.Tensor, method: str, stage: int) -> np.ndarray:
        explainer = build_explainer(method, stage=stage)
        return np.concatenate([explainer.explain(network, part)[:, 0].numpy() for part in images.split(8)])

    def pointing(split: str, method: str, stage: int, tolerance_px: float | None) -> Any:
        images, masks, patients = prepared[split]
        return localise(maps_of(model, images, method, stage), masks, patients=patients, tolerance_px=tolerance_px)

    tried = {
        f"{method} {stage}": pointing("validation", method, stage, 1.0).pointing.value for method, stage in CANDIDATES
    }
    method, stage = max(CANDIDATES, key=lambda one: tried[f"{one[0]} {one[1]}"])
    images, masks, patients = prepared["test"]
    centre = np.broadcast_to(centre_map(masks.shape[1:]), masks.shape)
    baselines = {
        "centre": centre,
        "brightest_voxel": images[:, 0].numpy(),
        "untrained_network": maps_of(_untrained(model), images, method, stage),
    }
    distances = _distances(ill[ill["split"] == "test"], phantom, bundle, method, stage)
    found = {
        "explainer": method,
        "stage": stage,
        "chosen_on_validation": tried,
        "volumes": len(images),
        "within_one_voxel_of_the_grid": _cell(pointing("test", method, stage, 1.0).pointing),
        "within_the_usual_tolerance": _cell(pointing("test", method, stage, None).pointing),
        **{
            f"{name}_within_{reach}": _cell(localise(maps, masks, patients=patients, tolerance_px=px).pointing)
            for name, maps in baselines.items()
            for reach, px in (("one_voxel_of_the_grid", 1.0), ("the_usual_tolerance", None))
        },
        "distance_mm": {str(q): round(float(np.percentile(distances, q)), 1) for q in (25, 50, 75, 90)},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "pointing.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _prepared(rows: pd.DataFrame, phantom: Path, recipe: Any) -> tuple[torch.Tensor, np.ndarray, list[str]]:
    drawn, images, masks = References.read(phantom / "masks"), [], []
    for name in rows["image"]:
        image = read(phantom / name, voi=recipe.voi)
        images.append(recipe.apply(image))
        masks.extend(drawn.on_prepared_grid(name, image, recipe, ("lesion",)))
    return torch.from_numpy(np.stack(images)), np.stack(masks), list(rows["patient_id"])


def _untrained(model: Classifier) -> Classifier:
    torch.manual_seed(0)
    drawn = copy.deepcopy(model)
    for layer in drawn.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return drawn


def _distances(rows: pd.DataFrame, phantom: Path, bundle: Any, method: str, stage: int) -> list[float]:
    """From the peak, on the voxels of the file, to the nearest voxel of a lesion."""
    explainer, found = build_explainer(method, stage=stage), []
    for name in rows["image"]:
        recipe = bundle.manifest.recipe
        image, mask = (
            read(phantom / name, voi=recipe.voi),
            read(phantom / name.replace("images", "masks"), voi=AS_STORED),
        )
        (evidence,) = explain_image(
            explainer, bundle.members[0], recipe, image, labels=bundle.manifest.labels, method=method
        )
        distance = ndimage.distance_transform_edt(mask.pixels[0] < 0.5, sampling=image.spacing_mm)
        found.append(float(distance[np.unravel_index(evidence.map.argmax(), evidence.map.shape)]))
    return found


def _cell(value: Any) -> dict[str, float]:
    return {"value": round(value.value, 3), "low": round(value.low, 3), "high": round(value.high, 3), "n": value.n}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
