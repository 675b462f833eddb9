"""Cut windows around planted nodules, and elsewhere in the lungs, out of the training and validation volumes.

    python benchmarks/volume_patches.py benchmarks/experiments/volume_ct.toml runs/phantom_ct runs/phantom_ct_patches

A network that is told only which volumes are ill sees a nodule as one place among thousands. Where findings are
outlined in training cases, it may learn windows first. Windows are cut on the grid and in the grey levels of the
experiment's recipe, so that a network of windows reads what that of volumes will read: around each nodule three, moved
at random; in every volume two where something as bright as a vessel lies in lung, and one anywhere in lung. Test
volumes are not opened. Written are NIfTI files and cohort.csv with the patients and splits of the volumes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from resight.experiments import ExperimentSettings
from resight.explain import References
from resight.imaging import read, write_nifti
from resight.settings import load_toml

SIDE_PX = 16
MOST_SHIFT_PX = 4
LUNG = (20, 70)
"""Grey levels of lung under a window of -1000 to 200 HU."""
VESSEL = 110
FAR_PX = 10
"""Windows without a nodule have their middle at least so far from one."""


def main(settings: Path, phantom: Path, out: Path) -> None:
    recipe = load_toml(settings, ExperimentSettings).recipe
    assert recipe.spacing_mm is not None
    table = pd.read_csv(phantom / "cohort.csv")
    (out / "images").mkdir(parents=True, exist_ok=True)
    affine = np.diag([*recipe.spacing_mm, 1.0])[[2, 1, 0, 3]]
    masks, rows = References.read(phantom / "masks"), []
    for row in table[table["split"] != "test"].to_dict("records"):
        image = read(phantom / row["image"], voi=recipe.voi)
        volume = recipe.apply(image)[0]
        (nodules,) = masks.on_prepared_grid(row["image"], image, recipe, ("nodule",))
        rng = np.random.default_rng((0, int(row["patient_id"][1:])))
        for number, (middle, ill) in enumerate(_middles(volume, nodules, rng)):
            name = f"images/{row['patient_id']}_{number}.nii.gz"
            write_nifti(out / name, _cut(volume, middle), affine, axes="+0+1+2")
            rows.append({"image": name, "patient_id": row["patient_id"], "split": row["split"], "nodule": ill})
    pd.DataFrame(rows).to_csv(out / "cohort.csv", index=False)
    print(f"{len(rows)} windows, {sum(row['nodule'] for row in rows)} with a nodule")


def _middles(volume: np.ndarray, nodules: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
    parts, count = ndimage.label(nodules)
    found = [
        (np.rint(middle) + rng.integers(-MOST_SHIFT_PX, MOST_SHIFT_PX + 1, 3), 1)
        for middle in ndimage.center_of_mass(nodules, parts, range(1, count + 1))
        for _ in range(3)
    ]
    inner = ndimage.binary_closing((volume > LUNG[0]) & (volume < LUNG[1]), iterations=2)
    if count:
        inner &= ~ndimage.binary_dilation(nodules, iterations=FAR_PX)
    for where, wanted in ((inner, 1), (inner & (volume > VESSEL), 2)):
        places = np.argwhere(where)
        if len(places):
            found += [(place, 0) for place in places[rng.integers(len(places), size=wanted)]]
    return found


def _cut(volume: np.ndarray, middle: np.ndarray) -> np.ndarray:
    half = SIDE_PX // 2
    starts = [int(np.clip(at, half, side - half)) - half for at, side in zip(middle, volume.shape, strict=True)]
    return volume[tuple(slice(start, start + SIDE_PX) for start in starts)]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
