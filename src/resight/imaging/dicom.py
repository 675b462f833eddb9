"""DICOM files and series -> `Image`: frames are placed in space, not in the order of names (PS3.3 C.7.6.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Shaped
from pydicom.pixels.processing import apply_color_lut

from resight.errors import ImageError
from resight.imaging.chain import Chain, without_rescale
from resight.imaging.decoders import Stored, decode
from resight.imaging.dicom_file import code, guarded, open_dicom, require_image
from resight.imaging.display import VOI, display, display_stack
from resight.imaging.geometry import spacing_of, to_lps, upright
from resight.imaging.header import (
    Placement,
    attributes_of,
    chain_of,
    patient_orientation,
    placement_of,
    spacing_2d,
)
from resight.imaging.placing import affine_of, sort_slices
from resight.types import Image, Step

_RADIOGRAPHS = ("CR", "DX", "RG")
_SHOWN_LEFT_ON_RIGHT = ("CHEST", "THORAX", "ABDOMEN", "PELVIS", "SPINE", "TSPINE", "LSPINE", "CSPINE", "SKULL", "")
"""Body parts whose frontal radiographs are shown as if the patient faced the reader."""


@dataclass(frozen=True, eq=False)
class _Slice:
    """One decoded frame with what its header says."""

    pixels: Shaped[np.ndarray, "H W *S"]
    chain: Chain
    placement: Placement | None


def read_dicom(path: Path, voi: VOI) -> Image:
    """Read one file: an image, a multi-frame volume, or frames without a place in space (cine).

    Raises:
        ImageError: it is no image, damaged, compressed with something we cannot decode, or its geometry is mixed.
    """
    dataset, notes = open_dicom(path)
    require_image(dataset, str(path))
    stored = decode(dataset, path, notes)
    slices = _slices(dataset, stored, path, notes)
    return _assemble(slices, dataset, stored, voi, path, notes)


def read_slices(paths: Sequence[Path], folder: Path, voi: VOI) -> Image:
    """Read the single-frame files of one series as a volume.

    Args:
        paths: the files, in any order.
        folder: what the user named; the volume's `source_id`.
        voi: grey policy.

    Raises:
        ImageError: a file is broken, or the slices do not form one evenly spaced volume.
    """
    notes, slices = list[str](), list[_Slice]()
    shapes: dict[tuple[int, ...], int] = {}
    first: tuple[pydicom.Dataset, Stored] | None = None
    for path in paths:
        dataset, more = open_dicom(path)
        require_image(dataset, str(path))
        stored = decode(dataset, path, more)
        notes.extend(note for note in more if note not in notes)
        slices.extend(_slices(dataset, stored, path, notes))
        shapes[stored.values.shape[1:]] = shapes.get(stored.values.shape[1:], 0) + 1
        first = first or (dataset, stored)
    if first is None:
        raise ImageError("the folder holds no DICOM image", where=str(folder))
    if len(shapes) > 1:
        sizes = " and ".join(f"{n} of {shape[0]} x {shape[1]}" for shape, n in shapes.items())
        raise ImageError(f"the slices differ in size: {sizes}", where=str(folder), expected="one size")
    if any(s.placement is None for s in slices):
        raise ImageError(
            "files of one series without positions",
            where=str(folder),
            expected="slices with position and orientation",
            fix="Name the files one by one if they are separate pictures.",
        )
    return _assemble(slices, *first, voi, folder, notes)


def _slices(dataset: pydicom.Dataset, stored: Stored, path: Path, notes: list[str]) -> list[_Slice]:
    with guarded(str(path), "the header cannot be understood", notes):
        if stored.values.ndim == 4 or stored.photometric == "PALETTE COLOR":
            chain = Chain(modality="", bits=stored.bits)
            colours = _colours(dataset, stored, str(path))
            return [_Slice(c, chain, placement_of(dataset, i)) for i, c in enumerate(colours)]
        if not stored.photometric.startswith("MONOCHROME"):
            raise ImageError("one sample per pixel, and not monochrome or palette", where=str(path))
        return [
            _Slice(frame, chain_of(dataset, i, stored, notes), placement_of(dataset, i))
            for i, frame in enumerate(stored.values)
        ]


def _colours(dataset: pydicom.Dataset, stored: Stored, where: str) -> Shaped[np.ndarray, "F H W 3"]:
    values = stored.values
    if stored.photometric == "PALETTE COLOR":
        if not dataset.original_encoding[1]:
            _swap_palette(dataset)
        values = apply_color_lut(values, dataset)
        return np.rint(values / 257.0).astype(np.uint8) if values.dtype.itemsize == 2 else values
    if values.shape[-1] != 3 or stored.photometric.startswith("MONOCHROME") or stored.signed:
        raise ImageError(f"{values.shape[-1]} samples per pixel", where=where, expected="grey or RGB")
    if values.dtype == np.uint8 and stored.bits == 8:
        return values
    return (values / (2.0**stored.bits - 1.0)).astype(np.float32)


def _swap_palette(dataset: pydicom.Dataset) -> None:
    """Palette entries of a big-endian file in the byte order that pydicom takes them for (3.0: always little)."""
    for colour in ("Red", "Green", "Blue"):
        keyword = f"{colour}PaletteColorLookupTableData"
        if keyword in dataset and dataset[keyword].VR == "OW":
            dataset[keyword].value = np.frombuffer(dataset[keyword].value, ">u2").astype("<u2").tobytes()


def _assemble(
    slices: list[_Slice], dataset: pydicom.Dataset, stored: Stored, voi: VOI, path: Path, notes: list[str]
) -> Image:
    where = str(path)
    with guarded(where, "the header cannot be understood", notes):
        attributes = attributes_of(dataset)
        modality = code(dataset, "Modality") or "OT"
        plane = spacing_2d(dataset, notes)
    history = [Step("read", {"format": "DICOM", "encoding": attributes["encoding"], "decoder": stored.decoder})]
    affine = None
    if len(slices) > 1 and (placements := _placements(slices)) is not None:
        order, facts = sort_slices(placements, where)
        slices, placements = [slices[i] for i in order], [placements[i] for i in order]
        affine = affine_of(placements)
        if len(slices) == attributes["frames"] and order != sorted(order):
            # results that refer to single frames of this file have to find them again
            facts["frames"] = [place + 1 for place in order]
        history.append(Step("sort slices", facts))
    pixels, steps = _grey(slices, voi)
    history.extend(steps)
    spacing: tuple[float, ...] = plane if len(slices) == 1 else (math.nan, *plane)
    if affine is not None:
        pixels, affine, turned = to_lps(pixels, affine, where)
        history.append(Step("to LPS", turned))
        spacing = spacing_of(affine)
    elif len(slices) > 1:
        notes.append("the frames have no place in space; they are stacked in stored order")
    elif modality in _RADIOGRAPHS and (letters := patient_orientation(dataset)):
        mirror = attributes.get("body_part", "") in _SHOWN_LEFT_ON_RIGHT
        pixels, done = upright(pixels, *letters, mirror=mirror)
        if "transposed" in done:
            spacing = spacing[::-1]
        history += [Step("upright", {"patient_orientation": "\\".join(letters), **done})] if done else []
    attributes["frames"] = len(slices)
    history.extend(Step("note", {"text": note}) for note in dict.fromkeys(notes))
    return Image(pixels, spacing, modality, where, tuple(history), affine, attributes)


def _placements(slices: list[_Slice]) -> list[Placement] | None:
    found = [s.placement for s in slices if s.placement is not None]
    # frames of a cine lie all in one place: time, not space
    distinct = {placement.position for placement in found}
    return found if len(found) == len(slices) and len(distinct) > 1 else None


def _grey(slices: list[_Slice], voi: VOI) -> tuple[Shaped[np.ndarray, "C *space"], tuple[Step, ...]]:
    """Pixels `(C, H, W)` or `(C, D, H, W)`; one window for all slices, that of the middle one."""
    middle = slices[len(slices) // 2].chain
    if slices[0].pixels.ndim == 3:
        colours = np.stack([s.pixels for s in slices]) if len(slices) > 1 else slices[0].pixels
        return np.moveaxis(colours, -1, 0), ()
    if all(middle.same_values(s.chain) for s in slices) or len(slices) == 1:
        pixels = [s.pixels for s in slices]
        grey, steps = display_stack(pixels, middle, voi) if len(slices) > 1 else display(pixels[0], middle, voi)
        return grey[np.newaxis], steps
    # the rescale differs from slice to slice (PET): it is undone first, the rest is common
    volume = np.stack([_rescaled(s) for s in slices])
    grey, steps = display(volume, without_rescale(middle), voi)
    differs = Step("modality", {"slope": "differs from slice to slice"})
    return grey[np.newaxis], (differs, *steps[1:])


def _rescaled(one: _Slice) -> Shaped[np.ndarray, "H W"]:
    raw = one.pixels
    stored = raw.astype(np.float64) if raw.dtype.kind == "f" else one.chain.stored(raw)
    values = one.chain.rescaled(stored)
    if one.chain.padding is not None:
        values[(stored >= one.chain.padding[0]) & (stored <= one.chain.padding[1])] = np.nan
    return values
