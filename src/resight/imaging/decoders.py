"""Which library decodes which transfer syntax (PS3.5 annex A): one explicit choice each, none under copyleft."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Shaped
from pydicom import uid as uids
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder

from resight.errors import ImageError
from resight.imaging.dicom_file import guarded, inflate, open_dicom, transfer_syntax
from resight.imaging.sniff import check_size

DEFLATED_FRAMES = uids.UID("1.2.840.10008.1.2.8.1")
"""Deflated Image Frame Compression (PS3.5 A.4.13)."""
DECODERS: dict[str, tuple[str, ...]] = {
    uids.JPEGBaseline8Bit: ("pillow", "gdcm"),
    uids.JPEGExtended12Bit: ("pillow",),
    uids.JPEGLossless: ("gdcm",),
    uids.JPEGLosslessSV1: ("gdcm",),
    uids.JPEGLSLossless: ("pyjpegls", "gdcm"),
    uids.JPEGLSNearLossless: ("pyjpegls", "gdcm"),
    uids.JPEG2000Lossless: ("pylibjpeg", "gdcm"),
    uids.JPEG2000: ("pylibjpeg", "gdcm"),
    uids.HTJ2KLossless: ("pylibjpeg",),
    uids.HTJ2KLosslessRPCL: ("pylibjpeg",),
    uids.HTJ2K: ("pylibjpeg",),
    uids.RLELossless: ("pylibjpeg", "pydicom"),
}
"""Plugins of pydicom for each compressed transfer syntax, the fastest first; the next where one is missing or fails."""
_NATIVE = (uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian, uids.ExplicitVRBigEndian)
# their code streams carry a precision of their own, by which pydicom already corrected the sign
_KEEP_ALL_BITS = (
    uids.JPEGLSLossless,
    uids.JPEGLSNearLossless,
    uids.JPEG2000,
    uids.JPEG2000Lossless,
    uids.HTJ2K,
    uids.HTJ2KLossless,
    uids.HTJ2KLosslessRPCL,
)
_DCMDJPEG_TIMEOUT_S = 120


@dataclass(frozen=True, eq=False)
class Stored:
    """Decoded pixel data.

    Attributes:
        values: `(F, H, W)`, or `(F, H, W, 3)` for colour.
        photometric: photometric interpretation after decoding.
        bits: bits of a value that count; 0 for floats.
        signed: whether they are two's complement.
        decoder: what decoded it.
    """

    values: Shaped[np.ndarray, "F H W *S"]
    photometric: str
    bits: int
    signed: bool
    decoder: str


def decode(dataset: pydicom.Dataset, path: Path, notes: list[str]) -> Stored:
    """Decode all frames of a dataset.

    Args:
        dataset: with pixel data.
        path: the file it came from.
        notes: what decoding had to say is added.

    Raises:
        ImageError: no decoder, damaged or too few data, or too large.
    """
    where, syntax = str(path), transfer_syntax(dataset)
    with guarded(where, "the pixel description is not valid", notes):
        frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        count = frames * samples * int(dataset.Rows) * int(dataset.Columns)
        bits = int(dataset.get("BitsAllocated") or 8)
    check_size(count, where)
    if syntax == DEFLATED_FRAMES:
        return _deflated_frames(dataset, frames, where)
    if syntax == uids.JPEGExtended12Bit and dataset.get("BitsStored") != 8:
        return _by_dcmdjpeg(path, notes)
    if syntax in _NATIVE:
        _require_bytes(dataset, count * bits // 8, where)
    plugins = [""] if syntax in _NATIVE else _plugins(syntax, where)
    options = {"view_only": True} if syntax in _NATIVE else {}
    if syntax not in _KEEP_ALL_BITS:
        options["correct_unused_bits"] = False
    with guarded(where, f"the pixel data cannot be decoded ({_name(syntax)})", notes):
        values, properties, plugin = _first_success(dataset, syntax, plugins, options)
        photometric = str(properties["photometric_interpretation"])
        signed = bool(properties.get("pixel_representation", 0))
        stored = int(properties.get("bits_stored", 0))
        shape = (frames, *values.shape[-2 - (samples > 1) :])
        if values.dtype.kind == "f":
            stored = 0
        elif syntax in _KEEP_ALL_BITS or not 0 < stored <= 8 * values.itemsize:
            stored = 8 * values.itemsize if values.itemsize > 1 or signed else max(stored, 1)
        return Stored(values.reshape(shape), photometric, stored, signed, plugin or "native")


def _first_success(
    dataset: pydicom.Dataset, syntax: uids.UID, plugins: list[str], options: dict[str, bool]
) -> tuple[Shaped[np.ndarray, "*shape"], dict[str, Any], str]:
    for plugin in plugins[:-1]:
        try:
            return (*_as_array(dataset, syntax, plugin, options), plugin)
        except RuntimeError:
            continue  # a stream that one library refuses is often read by the other
    return (*_as_array(dataset, syntax, plugins[-1], options), plugins[-1])


def _as_array(
    dataset: pydicom.Dataset, syntax: uids.UID, plugin: str, options: dict[str, bool]
) -> tuple[Shaped[np.ndarray, "*shape"], dict[str, Any]]:
    given: dict[str, Any] = {"allow_excess_frames": False, **options}
    return get_decoder(syntax).as_array(dataset, decoding_plugin=plugin, **given)


def _plugins(syntax: uids.UID, where: str) -> list[str]:
    wanted = DECODERS.get(syntax)
    if wanted is None:
        raise ImageError(f"compressed as {_name(syntax)}", where=where, expected="a transfer syntax of still images")
    available = [plugin for plugin in wanted if plugin in get_decoder(syntax).available_plugins]
    if not available:
        found = f"no decoder for {_name(syntax)} is installed"
        raise ImageError(found, where=where, fix="Install one with: pip install 'resight[dicom]'")
    return available


def _name(syntax: uids.UID) -> str:
    return syntax.name if syntax in uids.UID_dictionary else "an unknown transfer syntax"


def _require_bytes(dataset: pydicom.Dataset, expected: int, where: str) -> None:
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            with guarded(where, "the pixel data cannot be read"):
                found = len(dataset[keyword].value or b"")
            half = str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422"
            expected = expected * 2 // 3 if half else expected
            if found < expected:
                raise ImageError(f"truncated: {found} bytes of pixel data", where=where, expected=f"{expected}")


def _deflated_frames(dataset: pydicom.Dataset, frames: int, where: str) -> Stored:
    planes = []
    with guarded(where, "the deflated frames cannot be decoded"):
        rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
        if bits not in (1, 8, 16) or int(dataset.get("SamplesPerPixel") or 1) != 1:
            raise ImageError(f"deflated frames of {bits} bits", where=where, expected="1, 8 or 16 bits of grey")
        size = max(bits // 8, 1)
        for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
            raw = np.frombuffer(inflate(frame, where), np.uint8)
            if bits == 1:
                raw = np.unpackbits(raw, bitorder="little")
            planes.append(raw[: rows * columns * size].view(f"<u{size}"))
        values = np.stack(planes).reshape(frames, rows, columns)
        signed = bool(dataset.get("PixelRepresentation"))
        return Stored(values, str(dataset.PhotometricInterpretation), int(dataset.BitsStored), signed, "zlib")


def _by_dcmdjpeg(path: Path, notes: list[str]) -> Stored:
    """12-bit JPEG Extended: no permissive Python library decodes it, dcmtk's program does."""
    program = shutil.which("dcmdjpeg")
    if program is None:
        raise ImageError(
            "compressed as 12-bit JPEG Extended, which needs the program dcmdjpeg",
            where=str(path),
            fix="Install dcmtk (apt install dcmtk), or decompress the file first.",
        )
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.dcm"
        command = [program, str(path.resolve()), str(plain)]
        with guarded(str(path), "dcmdjpeg cannot decode the pixel data"):
            subprocess.run(command, check=True, capture_output=True, timeout=_DCMDJPEG_TIMEOUT_S)
        dataset, more = open_dicom(plain)
        notes.extend(more)
        stored = decode(dataset, plain, notes)
    return Stored(stored.values, stored.photometric, stored.bits, stored.signed, "dcmdjpeg")
