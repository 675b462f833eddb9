"""Files that a hospital's network may bring by accident or malice: whole seeds, and what is made of them.

Seeds are small, so that a mutation often meets something that matters. Their UIDs have a number of fixed width, which
is replaced to give every file UIDs of its own.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

NAME = "Secretname"
_SIDE_PX = 48
_ROOT, _FIRST = "1.2.826.0.1.99.", 1_000_000
_KINDS = ("bits", "bytes", "cut", "hole", "twice", "numbers", "header bytes", "noise")
_HUGE = (0xFFFFFFFF, 0x7FFFFFFF, 0xFFFF, 0, 2**24)


def dicom(rng: np.random.Generator, syntax: str, **changes: Any) -> Dataset:
    """A radiograph of smooth noise, which codecs compress."""
    ramp = np.add.outer(np.arange(_SIDE_PX), np.arange(_SIDE_PX)) * 2
    pixels = (ramp + rng.integers(0, 20, ramp.shape)).astype(np.uint8)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    values: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": f"{_ROOT}3.{_FIRST}",
        "StudyInstanceUID": f"{_ROOT}1.{_FIRST}",
        "SeriesInstanceUID": f"{_ROOT}2.{_FIRST}",
        "Modality": "DX",
        "PatientName": f"{NAME}^Jane",
        "PatientID": "SECRETID",
        "PixelSpacing": [0.2, 0.2],
        "Rows": _SIDE_PX,
        "Columns": _SIDE_PX,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | changes).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    return dataset


def content(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def numbered(data: bytes, number: int) -> bytes:
    """The file with UIDs of its own; a deflated one keeps those it has."""
    return data.replace(f".{_FIRST}".encode(), f".{_FIRST + number}".encode())


def seeds(rng: np.random.Generator) -> dict[str, bytes]:
    """Whole files of every kind: DICOM in nine transfer syntaxes, of one frame and of three, and pictures."""
    found = {
        "explicit": content(dicom(rng, ExplicitVRLittleEndian)),
        "implicit": content(dicom(rng, ImplicitVRLittleEndian)),
        "deflated": content(dicom(rng, DeflatedExplicitVRLittleEndian)),
        "several frames": content(
            dicom(rng, ExplicitVRLittleEndian, NumberOfFrames=3, PixelData=bytes(3 * _SIDE_PX**2))
        ),
        "JPEG": _jpeg(rng),
    }
    for name, syntax in (("RLE", RLELossless), ("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless)):
        dataset = dicom(rng, ExplicitVRLittleEndian)
        dataset.compress(syntax, generate_instance_uid=False)
        found[name] = content(dataset)
    if (program := shutil.which("dcmcjpeg")) is not None:
        found["JPEG lossless"] = _converted(program, found["explicit"])
    return found | {kind: _picture(rng, kind) for kind in ("PNG", "JPEG picture", "TIFF", "BMP")}


def mutate(data: bytes, rng: np.random.Generator, begin: int = 0) -> bytes:
    """One of eight kinds of damage behind the first bytes."""
    changed = bytearray(data)
    at = int(rng.integers(begin, len(changed)))
    kind = str(rng.choice(_KINDS))
    if kind == "bits":
        for place in rng.integers(begin, len(changed), rng.integers(1, 20)):
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind in ("bytes", "header bytes"):
        end = len(changed) if kind == "bytes" else min(len(changed), begin + 900)
        for place in rng.integers(begin, end, rng.integers(1, 40)):
            changed[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF]))
    elif kind == "cut":
        del changed[at:]
    elif kind == "hole":
        del changed[at : at + int(rng.integers(1, 64))]
    elif kind == "twice":
        changed[at:at] = changed[at : at + int(rng.integers(1, 2000))]
    elif kind == "numbers":
        # lengths, rows, columns and frames are small numbers; huge ones are what parsers stumble over
        place = int(rng.integers(begin, max(begin + 1, min(len(changed), begin + 1200) - 4)))
        changed[place : place + 4] = int(rng.choice(_HUGE)).to_bytes(4, "little")
    else:
        changed[at : at + 200] = rng.bytes(min(200, len(changed) - at))
    return bytes(changed)


def crafted(rng: np.random.Generator) -> dict[str, Callable[[], bytes]]:
    """Files that are small and promise or hold much, and files that hold nothing."""
    big = int(rng.integers(20_000, 65_535))

    def frames() -> bytes:
        return content(dicom(rng, ExplicitVRLittleEndian, NumberOfFrames=int(rng.integers(2**20, 2**31 - 1))))

    def nested() -> bytes:
        begin = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
        begin += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        return content(_without_pixels(rng)) + begin * int(rng.integers(500, 20_000))

    def many() -> bytes:
        one = struct.pack("<HH2sH", 0x0011, 0x1001, b"LO", 2) + b"x "
        return content(_without_pixels(rng)) + one * int(rng.integers(10_000, 200_000))

    def compressed_frame(kind: str) -> bytes:
        dataset = dicom(rng, ExplicitVRLittleEndian)
        dataset.compress(RLELossless if kind == "RLE" else JPEG2000Lossless, generate_instance_uid=False)
        dataset.Rows = dataset.Columns = 30_000
        data = content(dataset)
        at = data.rfind(b"\xff\x4f\xff\x51")  # the codestream promises what the header does
        return data if at < 0 else data[: at + 8] + struct.pack(">II", 30_000, 30_000) + data[at + 16 :]

    return {
        "deflate bomb": lambda: _deflated(rng, int(rng.integers(50, 400))),
        "PNG bomb": lambda: _png(big, int(rng.integers(20, 200))),
        "large rows and columns": lambda: content(dicom(rng, ExplicitVRLittleEndian, Rows=big, Columns=big)),
        "many frames": frames,
        "RLE that promises much": lambda: compressed_frame("RLE"),
        "JPEG 2000 that promises much": lambda: compressed_frame("JPEG 2000"),
        "deep sequences": nested,
        "many elements": many,
        "no bytes": lambda: b"",
        "preamble only": lambda: bytes(128) + b"DICM",
        "no elements": lambda: content(dicom(rng, ExplicitVRLittleEndian))[: _meta_end(rng)],
        "no pixel data": lambda: content(_without_pixels(rng)),
        "empty pixel data": lambda: content(dicom(rng, ExplicitVRLittleEndian, PixelData=b"")),
        "zeros": lambda: bytes(int(rng.integers(1, 100_000))),
    }


def dataset_begin(data: bytes) -> int:
    """Where the dataset begins behind the file meta information (PS3.10 7.1)."""
    if data[128:132] != b"DICM" or data[132:136] != b"\x02\x00\x00\x00":
        return 0
    return 144 + int.from_bytes(data[140:144], "little")


def _meta_end(rng: np.random.Generator) -> int:
    return dataset_begin(content(dicom(rng, ExplicitVRLittleEndian)))


def _without_pixels(rng: np.random.Generator) -> Dataset:
    dataset = dicom(rng, ExplicitVRLittleEndian)
    del dataset.PixelData
    return dataset


def _jpeg(rng: np.random.Generator) -> bytes:
    dataset = dicom(rng, JPEGBaseline8Bit)
    stream = io.BytesIO()
    Picture.fromarray(np.frombuffer(dataset.PixelData, np.uint8).reshape(_SIDE_PX, _SIDE_PX)).save(stream, "JPEG")
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].VR = "OB"
    return content(dataset)


def _converted(program: str, data: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(data)
        subprocess.run([program, "--uid-never", str(source), str(target)], check=True, capture_output=True, timeout=60)
        return target.read_bytes()


def _picture(rng: np.random.Generator, kind: str) -> bytes:
    stream = io.BytesIO()
    pixels = rng.integers(0, 255, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(stream, kind.removesuffix(" picture"))
    return stream.getvalue()


def _deflated(rng: np.random.Generator, megabytes: int) -> bytes:
    """A deflated dataset whose pixel data are zeros without end."""
    data = content(dicom(rng, DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, wbits=-15)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, megabytes << 20)
    return data[: dataset_begin(data)] + packer.compress(head + bytes(megabytes << 20)) + packer.flush()


def _png(side_px: int, megabytes: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    size = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(megabytes << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
