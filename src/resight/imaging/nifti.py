"""NIfTI-1 and NIfTI-2 single files -> `Image` (nifti1.h; nifti2.h): any axis order and flip, spacing checked."""

from __future__ import annotations

import importlib
import math
import os
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from nibabel.spatialimages import HeaderDataError

from resight.errors import ImageError
from resight.imaging.chain import Chain
from resight.imaging.display import VOI, display
from resight.imaging.geometry import Affine, spacing_of, to_lps
from resight.imaging.sniff import check_size
from resight.types import Image, Step

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_RGB, _RGBA = 128, 2304
_SKEW = 0.02
"""Cosine between axes: one degree, far more than rounding leaves."""
_MAX_HEADER_BYTES = 2**20
"""Most bytes before the voxels: header and extensions."""
_START_BYTES = 2**16
"""Compressed bytes that surely hold a header, whatever name and comment the gzip member carries."""
_BLOCK_BYTES = 2**18
_MOST_INFLATION = 1032
"""Times that deflate can make a file smaller (zlib's technical details): more than that is not in the file."""


def read_nifti(path: Path, voi: VOI) -> Image:
    """Read one volume, or one slice, which becomes an upright 2D image.

    Raises:
        ImageError: truncated, not one volume, complex numbers, or impossible spacing or orientation.
    """
    where = str(path)
    header, raw, encoding = _load(path, where)
    affine, notes = _affine(header, where)
    code = int(header["datatype"])
    if code in (_RGB, _RGBA):
        # channels first: (3, k, j, i)
        pixels = np.moveaxis(raw.view(np.uint8).reshape(*raw.shape, -1)[..., :3], -1, 0)
        steps: tuple[Step, ...] = ()
    else:
        slope, intercept = _scaling(header)
        if raw.dtype.itemsize > 4:
            raw = raw.astype(np.float64)  # 64-bit integers: beyond 2**53 nobody looks at pictures
        kind = raw.dtype.kind
        chain = Chain("OT", 0 if kind == "f" else 8 * raw.itemsize, kind == "i", slope, intercept)
        grey, steps = display(raw, chain, voi)
        pixels = grey[np.newaxis]
    # stored with i fastest, so that the array is (k, j, i) and the matrix's columns follow
    pixels, affine, turned = to_lps(pixels, (_RAS_TO_LPS @ affine)[:, [2, 1, 0, 3]], where)
    attributes: dict[str, str | float | int] = {**_facts(header), "encoding": encoding}
    history = (
        Step("read", {"format": "NIfTI", "encoding": encoding}),
        *steps,
        Step("to LPS", turned),
        *(Step("note", {"text": note}) for note in notes),
    )
    spacing = spacing_of(affine)
    thin = [axis for axis in range(3) if pixels.shape[axis + 1] == 1]
    if thin:
        pixels, spacing = _flat(pixels, spacing, thin[0])
        return Image(pixels, spacing, "OT", where, history, None, attributes)
    return Image(pixels, spacing, "OT", where, history, affine, attributes)


def describe_nifti(path: Path) -> dict[str, str | float | int]:
    """Header facts without the voxels.

    Raises:
        ImageError: the header is not valid.
    """
    with path.open("rb") as stream:
        start = stream.read(_MAX_HEADER_BYTES)
    header, encoding = _header(start, str(path))
    spacing = [float(z) for z in np.asarray(header["pixdim"])[1:4]]
    return {**_facts(header), "encoding": encoding, **dict(zip(("di_mm", "dj_mm", "dk_mm"), spacing, strict=True))}


def _facts(header: Any) -> dict[str, str | float | int]:
    width, height, depth = (max(int(n), 1) for n in np.asarray(header["dim"])[1:4])
    colour = "RGB" if int(header["datatype"]) in (_RGB, _RGBA) else "GREY"
    bits = int(header["bitpix"])
    return {"width": width, "height": height, "frames": depth, "bits": bits, "colour_mode": colour, "modality": "OT"}


def _flat(
    pixels: Shaped[np.ndarray, "C D H W"], spacing: tuple[float, ...], axis: int
) -> tuple[Any, tuple[float, ...]]:
    """One slice as a picture: where its rows run upwards (sagittal, coronal), they are turned to run downwards."""
    pixels = np.squeeze(pixels, axis + 1)
    spacing = tuple(mm for i, mm in enumerate(spacing) if i != axis)
    return (pixels if axis == 0 else np.flip(pixels, 1)), spacing


def _load(path: Path, where: str) -> tuple[Any, Shaped[np.ndarray, "k j i"], str]:
    try:
        with path.open("rb") as stream:
            return _voxels(stream, where)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", where=where) from error


def _voxels(stream: BinaryIO, where: str) -> tuple[Any, Shaped[np.ndarray, "k j i"], str]:
    header, encoding = _header(stream.read(_START_BYTES), where)
    shape = _shape(header, where)
    dtype = header.get_data_dtype()
    if dtype.kind == "c":
        raise ImageError("complex voxels", where=where, expected="real numbers")
    offset = int(header["vox_offset"])
    if not 0 < offset <= _MAX_HEADER_BYTES:
        raise ImageError(f"voxels at byte {offset}", where=where, expected="a single file with its voxels behind it")
    count = math.prod(shape)
    check_size(count, where)
    needed = offset + count * dtype.itemsize
    content = _content(stream, needed, zipped=encoding.endswith("gzip"))
    if len(content) < needed:
        raise ImageError(f"truncated: {len(content)} bytes", where=where, expected=f"{needed}")
    return header, content[offset:].view(dtype).reshape(shape[::-1]), encoding


def _content(stream: BinaryIO, limit: int, *, zipped: bool) -> UInt8[np.ndarray, " N"]:
    """The first `limit` bytes of a file, inflated; fewer where it ends early or is damaged.

    Block by block to where they stay: memory that grows with what comes out of it costs a third of the inflating.
    """
    at_most = os.fstat(stream.fileno()).st_size * (_MOST_INFLATION if zipped else 1)
    content, found = np.empty(min(limit, at_most), np.uint8), 0
    stream.seek(0)
    for block in _blocks(stream, len(content), zipped=zipped):
        content[found : found + len(block)] = np.frombuffer(block, np.uint8)
        found += len(block)
    return content[:found]


def _blocks(stream: BinaryIO, limit: int, *, zipped: bool) -> Iterator[bytes]:
    if not zipped:
        while limit > 0 and (block := stream.read(min(limit, _BLOCK_BYTES))):
            yield block
            limit -= len(block)
        return
    library = _zlib()
    member, waiting = library.decompressobj(31), b""
    while limit > 0:
        waiting = waiting or stream.read(_BLOCK_BYTES)
        try:
            block = member.decompress(waiting, min(limit, _BLOCK_BYTES))
        except (zlib.error, getattr(library, "error", zlib.error)):
            return  # what came before the damage may be enough
        if not waiting and not block:
            return
        yield block
        limit -= len(block)
        if member.eof:  # a file may consist of several gzip members one after the other
            member, waiting = library.decompressobj(31), member.unused_data
        else:
            waiting = member.unconsumed_tail


def _header(data: bytes, where: str) -> tuple[Any, str]:
    zipped = data[:2] == b"\x1f\x8b"
    start = b"".join(_blocks(BytesIO(data), 1024, zipped=zipped))
    second = start[4:7] in (b"n+2", b"ni2")
    kind = nib.Nifti2Header if second else nib.Nifti1Header
    magic = start[4:7] if second else start[344:347]
    if magic[:2] == b"ni":
        raise ImageError("the header of a .hdr/.img pair", where=where, expected="a single .nii or .nii.gz file")
    size = kind.sizeof_hdr
    if len(start) < size:
        raise ImageError(f"truncated: {len(start)} bytes", where=where, expected=f"a header of {size}")
    orders = {int.from_bytes(start[:4], "little"): "<", int.from_bytes(start[:4], "big"): ">"}
    if size not in orders:
        raise ImageError(f"header size {min(orders)}", where=where, expected=str(size))
    header = kind(start[:size], endianness=orders[size], check=False)
    return header, ("NIfTI-2" if second else "NIfTI-1") + (" gzip" if zipped else "")


def _shape(header: Any, where: str) -> tuple[int, int, int]:
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise ImageError(
            f"dimensions {dim[: max(min(dim[0], 7), 0) + 1]}", where=where, expected="1 to 7 positive ones"
        )
    shape = [*dim[1 : dim[0] + 1], 1, 1, 1]
    more = math.prod(dim[4 : dim[0] + 1])
    if more != 1:
        raise ImageError(f"{more} volumes", where=where, expected="one", fix="Split the file by time or component.")
    try:
        header.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise ImageError(
            f"data type {int(header['datatype'])}", where=where, expected="integers, floats or RGB"
        ) from None
    return shape[0], shape[1], shape[2]


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _affine(header: Any, where: str) -> tuple[Affine, list[str]]:
    """Matrix `(i, j, k, 1)` to RAS millimetres: the s-form before the q-form, as the standard's method 3 and 2."""
    zooms = np.asarray(header["pixdim"], dtype=float)[1:4]
    axes = max(min(int(header["dim"][0]), 3), 1)
    for axis, zoom in enumerate(zooms[:axes]):
        if not math.isfinite(zoom) or zoom <= 0:
            raise ImageError(
                f"spacing {zoom:g} mm on axis {axis}", where=where, expected="> 0", fix="Correct pixdim in the header."
            )
    notes = []
    try:
        affine = np.asarray(header.get_best_affine(), dtype=float)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        raise ImageError("the quaternion in the header is not valid", where=where, expected="a rotation") from None
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        notes.append("the header gives no orientation; rows were taken to run to the left and columns to the back")
    if axes < 3:
        affine[:3, axes:3] = np.eye(3)[:, axes:]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if axes == 3 and np.isfinite(lengths).all() and not np.allclose(lengths, zooms, rtol=1e-2):
        notes.append("orientation matrix and pixdim disagree on the spacing; the matrix was believed")
    if axes == 3 and np.isfinite(lengths).all() and lengths.min() > 0:
        _check_angles(affine[:3, :3] / lengths, where)
    unit = int(header["xyzt_units"]) & 7
    factor = {1: 1000.0, 3: 0.001}.get(unit, 1.0)
    if factor != 1.0:
        notes.append(f"lengths were given in units of {factor:g} mm")
        affine[:3] *= factor
    return affine, notes


def _check_angles(cosines: Float[np.ndarray, "3 3"], where: str) -> None:
    skew = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if skew > _SKEW:
        raise ImageError(
            f"axes {math.degrees(math.acos(min(skew, 1.0))):.1f} degrees apart",
            where=where,
            expected="90",
            fix="Resample the volume to a grid with right angles; an s-form of a registration may shear it.",
        )


def _zlib() -> ModuleType:
    """`isal` where it is installed (about three times as fast), the standard library's otherwise."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib
