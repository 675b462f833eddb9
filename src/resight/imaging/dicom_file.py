"""Opening one DICOM file without trusting it (PS3.10): inflation is capped, warnings become notes, values stay inside.

No message or note made here carries a header value, because a value may name the patient.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID_dictionary,
)

from resight.errors import ImageError, ResightError

MAX_INFLATED_BYTES = 2**29
"""Most bytes a deflated dataset or frame may inflate to (512 MiB; such objects are small reports and masks)."""
# everything that parsers and decoders were seen to raise on damaged files; their texts quote header values
_PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SubprocessError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NOTES = (
    (re.compile(r"excess padding"), "the pixel data are longer than the header says; the rest is left out"),
    (re.compile(r"frames have been found|sufficient to contain"), "there are more frames than the header says"),
    (re.compile(r"Photometric Interpretation"), "the code stream's colour space was believed, not the header's"),
    (re.compile(r"Number of Frames"), "the number of frames is invalid; one was assumed"),
    (re.compile(r"matches the expected number for uncompressed"), "the compressed data may be uncompressed"),
    (re.compile(r"non-conformant padding"), "a compressed segment is padded"),
    (re.compile(r"End of file|EOF|truncat", re.IGNORECASE), "the file ends early"),
)


def open_dicom(path: Path, *, pixels: bool = True) -> tuple[pydicom.Dataset, list[str]]:
    """Parse a file.

    Args:
        path: the file.
        pixels: read the pixel data too.

    Returns:
        The dataset and notes on what was wrong with the file.

    Raises:
        ImageError: it is not DICOM, holds nothing, or inflates beyond the cap.
    """
    where, notes = str(path), list[str]()
    with guarded(where, "cannot be parsed as DICOM", notes):
        deflated = _deflated_part(path)
        if deflated is None:
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        else:
            body = BytesIO(inflate(deflated, where))
            stop = None if pixels else _at_pixels
            dataset = read_dataset(body, is_implicit_VR=False, is_little_endian=True, stop_when=stop)
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            notes.append("the dataset was deflated")
        if len(dataset) == 0:
            raise ImageError("the DICOM file holds no data elements", where=where)
        dataset.get("SOPClassUID")
    return dataset, notes


def require_image(dataset: pydicom.Dataset, where: str, *, pixels: bool = True) -> None:
    """Refuse reports, plans, waveforms and all else that is no picture.

    Raises:
        ImageError: no rows and columns, or no pixel data.
    """
    with guarded(where, "the header cannot be understood"):
        has_pixels = not pixels or any(keyword in dataset for keyword in _PIXELS)
        has_size = bool(dataset.get("Rows")) and bool(dataset.get("Columns"))
    if not has_size or not has_pixels:
        missing = "pixel data" if has_size else "rows and columns"
        raise ImageError(f"{sop_class(dataset)} without {missing}", where=where, expected="a DICOM image")


def sop_class(dataset: pydicom.Dataset) -> str:
    """Name of the SOP class, from the standard's list only."""
    uid = UID(str(dataset.get("SOPClassUID", "")))
    return uid.name if uid in UID_dictionary else "a DICOM object of no standard class"


def transfer_syntax(dataset: pydicom.Dataset) -> UID:
    """The transfer syntax; where it is not given, what the elements were read as."""
    given = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if given:
        return UID(str(given))
    implicit, little = dataset.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def numbers(dataset: pydicom.Dataset | None, keyword: str) -> tuple[float, ...]:
    """A numeric attribute as floats; empty where it is absent, empty or not numeric."""
    try:
        value: Any = dataset.get(keyword) if dataset is not None else None
        if value is None or value == "":
            return ()
        if isinstance(value, bytes):
            # "US or SS" of an implicit transfer syntax, which is always little endian, stays undecided
            value = np.frombuffer(value, "<u2")
        items = [value] if isinstance(value, int | float | str) else list(value)
        return tuple(float(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        return ()


def code(dataset: pydicom.Dataset, keyword: str) -> str:
    """A coded attribute (VR CS); empty where it is absent or is not a code, so that free text cannot slip through."""
    try:
        value = str(dataset.get(keyword) or "").strip()
    except (TypeError, ValueError):
        return ""
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else ""


def inflate(data: bytes | memoryview, where: str) -> bytes:
    """Undo raw deflate (PS3.5 A.5), up to the cap.

    Raises:
        ImageError: there is more than `MAX_INFLATED_BYTES` of it, or it ends early.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error:
        raise ImageError("the deflated data are damaged", where=where) from None
    if stream.unconsumed_tail:
        raise ImageError(f"inflates to more than {MAX_INFLATED_BYTES} bytes", where=where, expected="less")
    if not stream.eof:
        raise ImageError("the deflated data end early", where=where)
    return inflated


@contextmanager
def guarded(where: str, found: str, notes: list[str] | None = None) -> Iterator[None]:
    """Turn whatever a parser raises into one `ImageError`, and what it warns of into notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ResightError:
            raise
        except _PARSER_ERRORS as error:
            if isinstance(error, MemoryError):
                found = "does not fit into memory"
            raise ImageError(f"{found} ({type(error).__name__})", where=where) from None
        finally:
            if notes is not None:
                notes.extend(note for note in _notes_of(caught) if note not in notes)


def _notes_of(caught: list[warnings.WarningMessage]) -> list[str]:
    texts = [str(warning.message) for warning in caught]
    known = [note for pattern, note in _NOTES if any(pattern.search(text) for text in texts)]
    if sum(not any(pattern.search(text) for pattern, _ in _NOTES) for text in texts):
        known.append("some header values break the rules of their type")
    return known


def _deflated_part(path: Path) -> bytes | None:
    with path.open("rb") as stream:
        head = stream.read(1024)
        if head[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in head:
            return None
        if head[132:140] != b"\x02\0\0\0UL\x04\0":
            raise ImageError("deflated, and its file meta information has no length", where=str(path))
        stream.seek(144 + int.from_bytes(head[140:144], "little"))
        return stream.read()


def _at_pixels(tag: Any, _vr: str | None, _length: int) -> bool:
    return tag >= 0x7FE00008
