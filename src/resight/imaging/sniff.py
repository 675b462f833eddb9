"""What a file is, judged by its first bytes and never by its name (magic numbers)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal

from resight.errors import ImageError

Kind = Literal["dicom", "nifti", "png", "jpeg", "tiff", "bmp"]

MAX_VALUES = 2**30
"""Most pixel values one image may decode to: 4 GiB as float32, twice the largest series in clinical routine."""
_HEAD_BYTES = 1024
_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "nifti": (".nii", ".gz"),
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "tiff": (".tif", ".tiff"),
    "bmp": (".bmp", ".dib"),
}
_OTHER_SUFFIXES = (".dcm", ".dicom", ".ima", ".gif", ".webp", ".jp2", ".heic", ".mha", ".mhd", ".nrrd")
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)


def sniff(path: Path) -> Kind | None:
    """Say which reader a file belongs to; None where none of ours reads it.

    Raises:
        ImageError: the file is absent, empty or may not be read.
    """
    head = _head(path)
    # first, because the 128 bytes before may be the header of a TIFF (dual personality, PS3.10 section 7.1)
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # "BM" alone is two letters of text; the header size that follows is one of a handful
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in {12, 40, 52, 56, 64, 108, 124}:
        return "bmp"
    if head[:2] == b"\x1f\x8b":
        head = _gunzipped(head)
        return "nifti" if _is_nifti(head) else None
    if _is_nifti(head):
        return "nifti"
    return "dicom" if _is_bare_dicom(head) else None


def is_misnamed(path: Path, kind: Kind) -> bool:
    """Whether the extension promises another format; DICOM files have any extension or none."""
    suffix = path.suffix.lower()
    if kind == "dicom":
        return any(suffix in names for names in _SUFFIXES.values())
    return suffix not in _SUFFIXES[kind]


def calls_itself_image(path: Path) -> bool:
    """Whether the extension is one of pictures or volumes, of those that we read and of others."""
    name = path.name.lower()
    return name.endswith(
        (".nii.gz", *_OTHER_SUFFIXES, *(s for names in _SUFFIXES.values() for s in names if s != ".gz"))
    )


def check_size(count: int, where: str) -> None:
    """Refuse an image before memory is asked for it.

    Raises:
        ImageError: more than `MAX_VALUES` pixel values.
    """
    if count > MAX_VALUES:
        raise ImageError(f"the header promises {count} pixel values", where=where, expected=f"at most {MAX_VALUES}")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise ImageError("no such file", where=str(path)) from None
    except OSError as error:
        raise ImageError(f"cannot be opened ({error.strerror})", where=str(path)) from error
    if not head:
        raise ImageError("the file is empty (0 bytes)", where=str(path))
    return head


def _gunzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _is_bare_dicom(head: bytes) -> bool:
    """Without preamble: the first element is of group 2 or 8, little or big endian, with a small element number."""
    group, element = head[:2], head[2:4]
    little = group in (b"\x02\0", b"\x08\0") and element[1:] == b"\0"
    big = group in (b"\0\x02", b"\0\x08") and element[:1] == b"\0"
    return len(head) > 8 and (little or big)
