"""Small DICOM files as a modality writes them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def radiograph(
    seed: int = 0, *, study: str = "1.2.826.1", number: int = 1, size_px: int = 64, **changes: Any
) -> Dataset:
    """A chest radiograph of noise; `changes` are attributes by keyword, None to leave one out."""
    rng = np.random.default_rng(seed)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": DX,
        "SOPInstanceUID": f"{study}.{number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.0",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientName": "Secretname^Jane",
        "PatientID": "SECRETID",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "PatientAge": "056Y",
        "StudyDate": "20261124",
        "StudyTime": "101112",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
        "InstanceNumber": number,
        "PixelSpacing": [0.2, 0.2],
        "Rows": size_px,
        "Columns": size_px,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": rng.integers(0, 255, (size_px, size_px), dtype=np.uint8).tobytes(),
    }
    for keyword, value in (values | changes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = UID(str(dataset.get("SOPClassUID", DX)))
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(str(dataset.get("SOPInstanceUID", "1.2")))
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    """As a file with preamble and file meta information."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def content(dataset: Dataset) -> bytes:
    """As the bytes of such a file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
