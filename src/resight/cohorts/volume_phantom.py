"""The volume phantom: CT of the chest with nodules and MR of the brain with lesions, as several scanners take them.

Every volume depends on the options and its number alone, never on which volumes were drawn before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int
from pydantic import Field, model_validator
from scipy import ndimage

from resight.cohorts.volume_phantom_anatomy import Canvas, Kind, Lesion, Region, draw_head, draw_thorax
from resight.cohorts.volume_phantom_series import write_series
from resight.errors import writing
from resight.imaging import write_nifti
from resight.imaging.geometry import Affine
from resight.settings import Options
from resight.types import Cohort

FINDING: Mapping[Kind, str] = {"ct": "nodule", "mr": "lesion"}
"""What is planted, and the label column."""
_GOLDEN = 0.6180339887498949  # steps of the golden ratio keep the shares of the splits right in small cohorts too
_THICK_MM = (2.5, 5.0, 8.0)
"""Slice distance of the scanners, in turn."""
_PURPOSES = ("patient", "body", "scan", "noise")

Share = Annotated[float, Field(ge=0, le=1)]


class VolumePhantomOptions(Options):
    """Drawn CT or MR volumes with planted lesions."""

    kind: Kind = Field(default="ct", description="CT of the chest with nodules, or MR of the brain with lesions")
    volumes: int = Field(default=200, gt=0, description="how many volumes")
    seed: int = Field(default=0, ge=0, description="another seed, another cohort")
    prevalence: Share = Field(default=0.5, description="share of patients with a finding")
    most_lesions: int = Field(default=2, ge=1, le=5, description="of a patient with a finding")
    in_plane_mm: tuple[float, float] = Field(default=(2.0, 3.0), description="range of the spacing within a slice")
    slice_mm: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=_THICK_MM, min_length=1, description="distance of slices, one for each scanner"
    )
    turned: Share = Field(default=0.5, description="share of volumes stored in another order or direction of axes")
    difficulty: Share = Field(default=0.3, description="0 plain, 1 barely above the noise")
    splits: tuple[Share, Share, Share] = Field(default=(0.6, 0.15, 0.25), description="train, validation, test")
    format: Literal["nifti", "dicom"] = Field(default="nifti", description="one file, or one series of slices each")
    masks: bool = Field(default=False, description="write where each lesion is")

    @model_validator(mode="after")
    def _consistent(self) -> VolumePhantomOptions:
        low, high = self.in_plane_mm
        if not 0.5 <= low <= high:
            raise ValueError("in_plane_mm from at least 0.5 mm, the lower one first")
        if max(high, *self.slice_mm) > 20:
            raise ValueError("spacings of 20 mm at most")
        if abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError("splits that add up to 1")
        return self


@dataclass(frozen=True)
class PhantomVolume:
    """One drawn volume and all that is known of it.

    Attributes:
        values: `(D, H, W)`, D to superior, H to posterior, W to the left: Hounsfield units, or MR signal.
        affine: array index `(d, h, w, 1)` to patient millimetres (LPS).
        axes: how the file stores it: the stored axis that D, H and W are taken from, with its direction.
        mask: where the lesions are.
        row: its row of `cohort.csv`.
        truth: its row of `truth.csv`.
    """

    values: Int[np.ndarray, "D H W"]
    affine: Affine
    axes: str
    mask: Region
    row: Mapping[str, Any]
    truth: Mapping[str, Any]


def render_volume(options: VolumePhantomOptions, index: int) -> PhantomVolume:
    """Draw one volume.

    Args:
        options: what the cohort is like.
        index: which volume, 0 to `options.volumes - 1`; each is of another patient.
    """
    patient, scan = _stream(options, "patient", index), _stream(options, "scan", index)
    age, female, ill = patient.integers(20, 90), patient.random() < 0.5, patient.random() < options.prevalence
    lesions = int(patient.integers(1, options.most_lesions + 1)) if ill else 0
    scanner = int(scan.integers(len(options.slice_mm)))
    in_plane = float(scan.uniform(*options.in_plane_mm))
    draw = draw_thorax if options.kind == "ct" else draw_head
    canvas, planted = draw(_stream(options, "body", index), in_plane, lesions, 1.0 - 0.7 * options.difficulty)
    values, mask, step = _scanned(options, canvas, planted, options.slice_mm[scanner], _stream(options, "noise", index))
    affine = np.diag([step, in_plane, in_plane, 1.0])[[2, 1, 0, 3]]
    affine[:3, 3] = [-(n - 1) / 2 * mm for n, mm in zip(values.shape[::-1], (in_plane, in_plane, step), strict=True)]
    order, signs, turned = scan.permutation(3), scan.random(3) < 0.5, scan.random() < options.turned
    axes = "".join(f"{'-' if s else '+'}{a}" for s, a in zip(signs, order, strict=True)) if turned else "+0+1+2"
    place = (options.seed + index) * _GOLDEN % 1.0
    train, validation, _ = options.splits
    name = f"images/{index:06d}" + (".nii.gz" if options.format == "nifti" else "")
    row = {
        "image": name,
        "patient_id": f"P{index:05d}",
        "split": "train" if place < train else "validation" if place < train + validation else "test",
        FINDING[options.kind]: int(ill),
        "age": int(age),
        "sex": "F" if female else "M",
        "scanner": chr(ord("A") + scanner),
    }
    truth = {
        "image": name,
        "lesions": lesions,
        "largest_mm": round(float(max((max(one.radii_mm) * 2 for one in planted), default=0.0)), 1),
        "slice_mm": round(step, 3),
        "in_plane_mm": round(in_plane, 3),
        "axes": axes,
    }
    return PhantomVolume(values, affine, axes, mask, row, truth)


def write_volume_phantom(options: VolumePhantomOptions, folder: Path) -> Cohort:
    """Draw a cohort into a folder.

    Written are `images/` (NIfTI files, or a folder with a DICOM series each), `cohort.csv` (what a hospital would hand
    over), `truth.csv` (what was planted) and, when asked for, `masks/*.nii.gz` on the grids of the images.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows, truths = [], []
    with writing(folder):
        for part in ("images", "masks") if options.masks else ("images",):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for index in range(options.volumes):
            drawn = render_volume(options, index)
            path = folder / str(drawn.row["image"])
            if options.format == "nifti":
                write_nifti(path, drawn.values, drawn.affine, axes=drawn.axes)
            else:
                modality, patient = options.kind.upper(), str(drawn.row["patient_id"])
                write_series(path, drawn.values, drawn.affine, modality=modality, patient=patient, seed=options.seed)
            if options.masks:
                mask = folder / "masks" / f"{index:06d}.nii.gz"
                write_nifti(mask, drawn.mask.astype(np.uint8), drawn.affine, axes=drawn.axes)
            rows.append(drawn.row)
            truths.append(drawn.truth)
        table = pd.DataFrame(rows)
        table.to_csv(folder / "cohort.csv", index=False, lineterminator="\n")
        pd.DataFrame(truths).to_csv(folder / "truth.csv", index=False, lineterminator="\n")
    note = "Drawn by Resight; no patient was involved."
    return Cohort(table, (FINDING[options.kind],), "binary", folder, f"phantom {options.kind}", (note,))


def _scanned(
    options: VolumePhantomOptions, canvas: Canvas, planted: list[Lesion], slice_mm: float, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "D H W"], Region, float]:
    """Slices as thick as their distance: voxels are averaged over it, and a lesion thinner than that turns pale."""
    thick = max(1, round(slice_mm / canvas.spacing_mm))
    depth = len(canvas.values) // thick

    def slabs(values: np.ndarray) -> np.ndarray:
        return values[: depth * thick].reshape(depth, thick, *values.shape[1:]).mean(axis=1)

    values = slabs(canvas.values)
    mask = np.zeros(canvas.values.shape, bool)
    for lesion in planted:
        mask |= canvas.inside(lesion)
    values = ndimage.gaussian_filter(values, (0, 0.5, 0.5))
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    if options.kind == "ct":
        signal = values + np.float32(20 + 30 * options.difficulty) * noise
    else:
        field = [rng.normal(0, 0.06) * np.linspace(-1, 1, n, dtype=np.float32) for n in values.shape]
        coil = 1 + field[0][:, None, None] + field[1][None, :, None] + field[2][None, None, :]
        sigma = np.float32(0.02 + 0.03 * options.difficulty)
        # the magnitude of a complex signal (Rice); MR signal has no unit, every scan has a scale of its own
        other = rng.standard_normal(values.shape, dtype=np.float32)
        signal = rng.uniform(300, 1500) * np.hypot(values * coil + sigma * noise, sigma * other)
    whole = np.rint(signal).astype(np.int16)
    return whole, slabs(mask.astype(np.float32)) >= 0.5, thick * canvas.spacing_mm


def _stream(options: VolumePhantomOptions, purpose: str, index: int) -> np.random.Generator:
    """A generator of its own for every purpose and volume."""
    kind = ("ct", "mr").index(options.kind)
    return np.random.default_rng((options.seed, kind, _PURPOSES.index(purpose), index))
