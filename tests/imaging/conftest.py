"""Small files of known content: a picture like the letter F, which no turn or mirror image leaves as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

WriteDicom = Callable[..., Path]


@pytest.fixture
def letter() -> np.ndarray:
    """`(11, 8)`, 0 to 255: upright, row-major, bright on dark, with a ramp so that no two rows are equal."""
    picture = np.zeros((11, 8), np.uint8)
    picture[1:10, 1:3] = 200
    picture[1:3, 1:7] = 255
    picture[5:6, 1:5] = 150
    picture[:, 7] = np.arange(11)
    return picture


@pytest.fixture
def write_dicom() -> WriteDicom:
    """Write one file: `write(path, pixels, **elements)`; elements override the defaults, None removes one."""

    def write(path: Path, pixels: np.ndarray, *, syntax: Any = ExplicitVRLittleEndian, **elements: Any) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        meta.MediaStorageSOPClassUID = elements.get("SOPClassUID", SecondaryCaptureImageStorage)
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        colour = pixels.ndim > 2 and pixels.shape[-1] == 3
        defaults: dict[str, Any] = {
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "SeriesInstanceUID": "1.2.3",
            "StudyInstanceUID": "1.2",
            "PatientName": "Doe^Jane",
            "PatientID": "SECRET-4711",
            "Modality": "OT",
            "Rows": pixels.shape[-3 if colour else -2],
            "Columns": pixels.shape[-2 if colour else -1],
            "SamplesPerPixel": 3 if colour else 1,
            "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
            "BitsAllocated": 8 * pixels.itemsize,
            "BitsStored": 8 * pixels.itemsize,
            "HighBit": 8 * pixels.itemsize - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
            "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
        }
        if colour:
            defaults["PlanarConfiguration"] = 0
        for keyword, value in (defaults | elements).items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def lut_item() -> Callable[[list[int], int, int], Dataset]:
    """One item of a LUT sequence: entries, first mapped value, bits."""

    def make(entries: list[int], first: int, bits: int) -> Dataset:
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
        item.add_new("LUTData", "US", entries)
        return item

    return make
