"""Evidence as files: pictures in colour, and NIfTI that lies voxel on voxel over a volume's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from resight.errors import ImageError, SettingsError, nearest, writing
from resight.explain.base import Explainer
from resight.explain.image_grid import explain_image
from resight.explain.overlay import overlay
from resight.imaging import read, write_nifti
from resight.imaging.geometry import axes_of
from resight.models import Bundle, named_sources
from resight.types import Attribution, Image, Progress, silent

COLUMNS = ("image", "label", "file", "picture", "peak", "peak_at", "peak_mm", "error")


def write_evidence(
    bundle: Bundle,
    paths: Sequence[Path],
    folder: Path,
    *,
    explainer: Explainer,
    method: str,
    labels: Sequence[str] | None = None,
    arrays: bool = False,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Explain images and write one map for each image and label.

    Args:
        bundle: the model; the maps of an ensemble are averaged.
        paths: files, DICOM series, or folders of them.
        folder: for the files; is made.
        explainer: how.
        method: its name, for the files.
        labels: whose evidence; all labels of the bundle when not given.
        arrays: also write the maps of images as NumPy arrays on the pixels of the upright original.
        progress: told after every image.

    Returns:
        One row for each image and label: `file` with the map and `picture` below the folder, `peak` (largest
        evidence), `peak_at` (its pixel in array order), `peak_mm` (its place in the patient, LPS, for volumes that have
        one), both blank where nothing speaks for the label; or `error`.

    Raises:
        SettingsError: the bundle has no such label.
        ImageError: a folder holds no image, or none of the images can be explained.
        OutputError: a file cannot be written.
    """
    known = bundle.manifest.labels
    chosen = tuple(labels or known)
    for label in chosen:
        if label not in known:
            raise SettingsError(f"no label {label!r}", where=bundle.manifest.name, fix=nearest(label, known))
    listed = named_sources(paths, relative=len(paths) == 1, volumes=bundle.manifest.dims > 2)
    sources = [(name, Path(str(path))) for name, path in listed]
    rows: list[dict[str, Any]] = []
    for number, (name, path) in enumerate(sources):
        try:
            image = read(path, voi=bundle.manifest.recipe.voi)
            found = _explained(bundle, explainer, method, image)
        except ImageError as error:
            rows.append({"image": name, "error": str(error)})
        else:
            stem = f"{number:04d}_{_stem(path)}"
            rows += [_written(folder, stem, name, image, one, arrays) for one in found if one.label in chosen]
        progress("explain", number + 1, len(sources), name)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if table["error"].notna().all():
        raise ImageError(f"none of {len(sources)} images can be explained, the first: {table['error'].iloc[0]}")
    return table


def write_volume_map(path: Path, attribution: Attribution, image: Image) -> None:
    """Write a map so that it lies voxel on voxel over the file that the volume was read from.

    Args:
        path: `.nii` or `.nii.gz`.
        attribution: a map on the pixels of the image.
        image: the volume.

    Raises:
        ImageError: the image has no place in space.
        OutputError: the file cannot be written.
    """
    if image.affine is None:
        raise ImageError("has no place in space", where=image.source_id, expected="a volume with an orientation")
    write_nifti(path, attribution.map.astype(np.float32), image.affine, axes=axes_of(image))


def _explained(bundle: Bundle, explainer: Explainer, method: str, image: Image) -> list[Attribution]:
    labels, recipe = bundle.manifest.labels, bundle.manifest.recipe
    each = [explain_image(explainer, m, recipe, image, labels=labels, method=method) for m in bundle.members]
    return [
        Attribution(np.mean([maps[index].map for maps in each], axis=0), label, method)
        for index, label in enumerate(labels)
    ]


def _written(folder: Path, stem: str, name: str, image: Image, found: Attribution, arrays: bool) -> dict[str, Any]:
    peak = np.unravel_index(int(found.map.argmax()), found.map.shape)
    row: dict[str, Any] = {"image": name, "label": found.label, "peak": float(found.map[peak])}
    somewhere = row["peak"] > 0
    row["peak_at"] = " ".join(str(int(i)) for i in peak) if somewhere else ""
    volume = image.affine is not None
    file = f"{stem}_{_safe(found.label)}_{found.method}" + (".nii.gz" if volume else ".png")
    picture = f"{stem}_{_safe(found.label)}_{found.method}.png"
    if image.affine is not None:
        place_mm = (image.affine @ [*peak, 1.0])[:3]
        row["peak_mm"] = " ".join(f"{mm:.1f}" for mm in place_mm) if somewhere else ""
        write_volume_map(folder / file, found, image)
    elif arrays:
        file = file.removesuffix(".png") + ".npy"
        np.save(folder / file, found.map.astype(np.float32), allow_pickle=False)
    _write_picture(folder / picture, image, found)
    return row | {"file": file, "picture": picture}


def _write_picture(path: Path, image: Image, found: Attribution) -> None:
    """The overlay; of a volume, the slice with the strongest evidence."""
    pixels, evidence = np.rint(image.as_float() * 255).astype(np.uint8), found.map
    if evidence.ndim == 3:
        depth = int(evidence.max(axis=(1, 2)).argmax())
        pixels, evidence = pixels[:, depth], evidence[depth]
    colours = np.ascontiguousarray(np.moveaxis(overlay(pixels, evidence), 0, -1)[..., ::-1])
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", colours)[1].tobytes())


def _stem(path: Path) -> str:
    return _safe(path.name.removesuffix(".gz").removesuffix(".nii").rsplit(".", 1)[0])


def _safe(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-" else "-" for letter in text)
