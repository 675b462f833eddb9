"""Bytes -> `Image`: DICOM, NIfTI and raster files, one grey policy, and sentinels for what does not fit a cohort."""

from resight.imaging.display import VOI
from resight.imaging.nifti_writer import write_nifti
from resight.imaging.reader import describe, list_images, read
from resight.imaging.sandbox import Header, ReadingEndedError, Sandbox
from resight.imaging.sentinels import Flag, Sentinels
from resight.imaging.tone import TONES, tone

__all__ = [
    "TONES",
    "VOI",
    "Flag",
    "Header",
    "ReadingEndedError",
    "Sandbox",
    "Sentinels",
    "describe",
    "list_images",
    "read",
    "tone",
    "write_nifti",
]
