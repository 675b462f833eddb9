"""The door: any file or series folder -> one canonical `Image`, its header facts, or the list of a folder."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

from resight.errors import ImageError
from resight.imaging.dicom import read_dicom
from resight.imaging.dicom_file import code, guarded, open_dicom, require_image
from resight.imaging.display import VOI
from resight.imaging.header import attributes_of, spacing_2d
from resight.imaging.nifti import describe_nifti, read_nifti
from resight.imaging.raster import describe_raster, read_raster
from resight.imaging.series import is_directory_file, is_series, read_series, series_files
from resight.imaging.sniff import Kind, calls_itself_image, is_misnamed, sniff
from resight.types import Image, Step


def read(path: str | Path, *, voi: VOI | None = None, at_least_px: int | None = None) -> Image:
    """Read a picture, a volume, or a folder with one DICOM series.

    The content decides how it is read; a wrong extension is noted in the history. Pixels come upright and row-major,
    with white as the highest value; volumes in LPS order. 8-bit sources stay `uint8`, all else is `float32` in [0, 1].

    Args:
        path: a DICOM, NIfTI, PNG, JPEG, TIFF or BMP file, a folder with one DICOM series, or one with a DICOMDIR.
        voi: which stored values become black and white; `auto` when not given.
        at_least_px: a JPEG may be decoded at reduced size if its short side stays at least this long.

    Raises:
        ImageError: the image cannot be read or used.
    """
    path = Path(path)
    policy = voi or VOI()
    if path.is_dir():
        return read_series(path, policy)
    kind = _kind(path)
    if kind == "dicom":
        if is_directory_file(path):
            return read_series(path.parent, policy, directory=path)
        image = read_dicom(path, policy)
    elif kind == "nifti":
        image = read_nifti(path, policy)
    else:
        image = read_raster(path, kind, policy, at_least_px)
    if is_misnamed(path, kind):
        note = Step("note", {"text": f"the content is {kind.upper()}, the extension says otherwise"})
        image = replace(image, history=(*image.history, note))
    return image


def describe(path: str | Path) -> dict[str, str | float | int]:
    """Header facts without decoding pixels: `bytes`, `width`, `height`, `frames`, `bits`, `colour_mode`, `encoding`.

    Args:
        path: a file; of a series folder, the first slice is described and `files` counts them.

    Raises:
        ImageError: the header cannot be read, or the file is no image.
    """
    path = Path(path)
    if path.is_dir():
        files = series_files(path)
        return {**describe(files[0]), "files": len(files), "bytes": sum(file.stat().st_size for file in files)}
    kind = _kind(path)
    facts: dict[str, str | float | int] = {"format": kind, "bytes": path.stat().st_size}
    if kind == "dicom":
        return facts | _describe_dicom(path)
    return facts | (describe_nifti(path) if kind == "nifti" else describe_raster(path))


def list_images(folder: str | Path, *, volumes: bool = False) -> list[Path]:
    """Everything below a folder that is an image by its content or calls itself one, sorted.

    What has the name of a picture and is none is listed too, so that it is not lost unseen: `read` says what is wrong.
    Slices of one DICOM series in a folder of their own are one entry, the folder. A folder that mixes series, or holds
    pictures without a place in space, is listed file by file. Hidden files and folders are passed over.

    Args:
        folder: where to begin.
        volumes: slices alone are of no use: a folder that mixes series is one entry too, and `read` says why it fails.

    Raises:
        ImageError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError("no such folder", where=str(folder))
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(root) / name for name in sorted(names) if not name.startswith(".")]
        kinds = {path: _kind_or_none(path) for path in files}
        slices = [path for path, kind in kinds.items() if kind == "dicom" and path.name != "DICOMDIR"]
        if len(slices) > 1 and is_series(slices, mixed=volumes):
            found.append(Path(root))
            kinds = {path: kind for path, kind in kinds.items() if kind != "dicom"}
        found.extend(
            path
            for path, kind in kinds.items()
            if (kind is not None or calls_itself_image(path)) and path.name != "DICOMDIR"
        )
    return sorted(found)


def _describe_dicom(path: Path) -> dict[str, str | float | int]:
    dataset, _ = open_dicom(path, pixels=False)
    require_image(dataset, str(path), pixels=False)
    with guarded(str(path), "the header cannot be understood"):
        facts = {**attributes_of(dataset), "modality": code(dataset, "Modality") or "OT"}
        height_mm, width_mm = spacing_2d(dataset, [])
    if not math.isnan(height_mm):
        facts |= {"row_spacing_mm": height_mm, "column_spacing_mm": width_mm}
    return facts


def _kind(path: Path) -> Kind:
    kind = sniff(path)
    if kind is None:
        raise ImageError("not an image we read", where=str(path), expected="DICOM, NIfTI, PNG, JPEG, TIFF or BMP")
    return kind


def _kind_or_none(path: Path) -> Kind | None:
    try:
        return sniff(path)
    except ImageError:
        return None
