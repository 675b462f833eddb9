"""A drawn volume as a DICOM series: one file a slice (PS3.3 A.3 CT Image, A.4 MR Image)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Int
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from resight.imaging.geometry import Affine


def write_series(
    folder: Path, values: Int[np.ndarray, "D H W"], affine: Affine, *, modality: str, patient: str, seed: int
) -> None:
    """Write axial slices, numbered from the feet.

    Args:
        folder: is made; one file for each slice.
        values: stored values; Hounsfield units for CT.
        affine: index `(d, h, w, 1)` to patient millimetres (LPS), without rotation.
        modality: `CT` or `MR`.
        patient: identifier of the drawn patient.
        seed: of the cohort; with the patient it fixes all unique identifiers.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = f"2.25.{int.from_bytes(hashlib.sha256(f'{modality} {patient} {seed}'.encode()).digest()[:12], 'big')}"
    kind = CTImageStorage if modality == "CT" else MRImageStorage
    for number, plane in enumerate(values):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = kind
        meta.MediaStorageSOPInstanceUID = UID(f"{root}.3.{number}")
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset(str(folder), {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{root}.1", f"{root}.2"
        dataset.FrameOfReferenceUID = f"{root}.4"
        dataset.Modality, dataset.PatientID, dataset.PatientName = modality, patient, f"Phantom^{patient}"
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient = [float(f"{mm:.6g}") for mm in affine[:3, 3] + number * affine[:3, 0]]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [float(f"{mm:.6g}") for mm in (affine[1, 1], affine[0, 2])]
        dataset.SliceThickness = float(f"{affine[2, 0]:.6g}")
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        if modality == "CT":
            dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
        dataset.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
