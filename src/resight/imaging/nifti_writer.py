"""A volume -> NIfTI-1 (nifti1.h), in the axis order and direction of the file it belongs to."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Shaped

from resight.errors import writing
from resight.imaging.geometry import AS_THEY_ARE, Affine, from_lps

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_nifti(path: Path, values: Shaped[np.ndarray, "D H W"], affine: Affine, *, axes: str = AS_THEY_ARE) -> None:
    """Write one volume.

    Args:
        path: `.nii`, or `.nii.gz` to compress.
        values: D to superior, H to posterior, W to the left, of a type that NIfTI knows (8 to 32 bits).
        affine: index `(d, h, w, 1)` to patient millimetres (LPS).
        axes: where each of D, H, W lies in the file: `axes` of the step `to LPS` in the history of an image, so that
            what was read and what is written lie voxel on voxel.

    Raises:
        OutputError: the file cannot be written.
    """
    stored, matrix = from_lps(values[None], affine, axes)
    # i runs fastest in the file: the array is (k, j, i), and nibabel takes (i, j, k)
    image = nib.Nifti1Image(stored[0].transpose(2, 1, 0), (_LPS_TO_RAS @ matrix)[:, [2, 1, 0, 3]])
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, path)
