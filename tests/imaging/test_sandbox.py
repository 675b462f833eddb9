"""A file that crashes, hangs or swallows memory costs one reading process and gives a reason; the next file is read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from resight.errors import ImageError
from resight.imaging import Sandbox
from resight.imaging.display import VOI


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(processes=1, memory_mb=600, timeout_s=20, most_values=1_000_000, most_frames=4) as sandbox:
        yield sandbox


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.png"
    Picture.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)
    return path


def radiograph(path: Path, syntax: str = ExplicitVRLittleEndian, **changes: object) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax  # type: ignore[assignment]
    values: dict[str, object] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "SOPInstanceUID": "1.2.3", "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.4", "Modality": "DX", "Rows": 8, "Columns": 8, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
        "PixelRepresentation": 0, "PixelData": bytes(range(64)),
    }  # fmt: skip
    for keyword, value in (values | changes).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_header_and_pixels_come_through_unchanged(sandbox: Sandbox, tmp_path: Path) -> None:
    path = radiograph(tmp_path / "a.dcm")
    header = sandbox.header(path)
    assert header.text("Modality") == "DX"
    assert header.whole("Rows") == 8
    assert header.problem == ""
    image = sandbox.image(path, VOI())
    assert image.pixels.shape == (1, 8, 8)
    assert image.modality == "DX"


def test_a_deflate_bomb_is_told_apart_from_a_report(sandbox: Sandbox, tmp_path: Path, good: Path) -> None:
    path = radiograph(tmp_path / "bomb.dcm", DeflatedExplicitVRLittleEndian)
    start = path.read_bytes()
    meta = 132 + 12 + pydicom.dcmread(path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(2**24)
    body = b"".join(packer.compress(zeros) for _ in range(40)) + packer.flush()
    path.write_bytes(start[:meta] + body)
    assert path.stat().st_size < 2**20
    with pytest.raises(ImageError, match=r"inflates to more than|memory"):
        sandbox.header(path)
    assert sandbox.image(good, VOI()).pixels.shape == (1, 16, 16)


def test_a_picture_that_promises_too_much_is_refused_by_its_header(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ImageError, match="promises too many pixels"):
        sandbox.image(path, VOI())


def test_too_many_frames_are_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    path = radiograph(tmp_path / "frames.dcm", NumberOfFrames=5, PixelData=bytes(64 * 5))
    with pytest.raises(ImageError, match="5 frames"):
        sandbox.image(path, VOI())


def test_memory_is_limited_and_the_next_file_is_read(tmp_path: Path, good: Path) -> None:
    path = tmp_path / "large.png"
    Picture.fromarray(np.zeros((9000, 9000), np.uint8)).save(path, compress_level=1)
    with Sandbox(processes=1, memory_mb=60, timeout_s=60) as small:
        with pytest.raises(ImageError, match=r"memory|ends the process|decode|cannot"):
            small.image(path, VOI())
        assert small.image(good, VOI()).pixels.shape == (1, 16, 16)


def test_time_is_limited_and_the_next_file_is_read(tmp_path: Path, good: Path) -> None:
    path = tmp_path / "large.png"
    rng = np.random.default_rng(0)
    Picture.fromarray(rng.integers(0, 255, (6000, 6000), dtype=np.uint8)).save(path, compress_level=1)
    with Sandbox(processes=1, timeout_s=0.05) as hasty:
        hasty.image(good, VOI())  # the first file may take as long as the process needs to start
        with pytest.raises(ImageError, match=r"takes more than 0\.05 s"):
            hasty.image(path, VOI())
    with Sandbox(processes=1, timeout_s=20) as sandbox:
        assert sandbox.image(good, VOI()).pixels.shape == (1, 16, 16)


def test_a_killed_process_is_replaced(good: Path) -> None:
    with Sandbox(processes=1) as sandbox:
        sandbox.image(good, VOI())
        process = sandbox._free.get()
        assert process is not None
        process._running.kill()
        process._running.wait()
        sandbox._free.put(process)
        assert sandbox.image(good, VOI()).pixels.shape == (1, 16, 16)
