"""What a DICOM header says of display, spacing and position, for one file or one frame of an enhanced one (PS3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pydicom

from resight.imaging.chain import Chain, Table, Window
from resight.imaging.decoders import Stored
from resight.imaging.dicom_file import code, numbers, transfer_syntax

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Placement:
    """Where one slice lies (PS3.3 C.7.6.2): row and column cosines, position of the first pixel, pixel spacing."""

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    position: tuple[float, ...]
    spacing_mm: tuple[float, ...]


def chain_of(dataset: pydicom.Dataset, frame: int, stored: Stored, notes: list[str]) -> Chain:
    """The way from stored values to grey, for one frame."""
    rescale = _group(dataset, frame, "PixelValueTransformationSequence")
    voi = _group(dataset, frame, "FrameVOILUTSequence")
    slope, intercept = numbers(rescale, "RescaleSlope"), numbers(rescale, "RescaleIntercept")
    if not slope and "DoseGridScaling" in dataset:
        slope = numbers(dataset, "DoseGridScaling")
    if slope and (slope[0] == 0 or not math.isfinite(slope[0])):
        notes.append("the rescale slope is 0 or not finite; 1 was used")
        slope = ()
    offset = intercept[0] if intercept else 0.0
    photometric = stored.photometric
    shape = code(dataset, "PresentationLUTShape")
    if (shape, photometric) in (("INVERSE", "MONOCHROME2"), ("IDENTITY", "MONOCHROME1")):
        notes.append("presentation LUT shape and photometric interpretation disagree; the latter was believed")
    signed_lut = stored.signed or offset < 0
    return Chain(
        modality=code(dataset, "Modality") or "OT",
        bits=stored.bits,
        signed=stored.signed,
        slope=slope[0] if slope else 1.0,
        intercept=offset if math.isfinite(offset) else 0.0,
        modality_lut=_table(dataset, "ModalityLUTSequence", stored.signed, notes),
        windows=tuple(_windows(voi, notes)),
        voi_lut=_table(dataset, "VOILUTSequence", signed_lut, notes),
        presentation_lut=_table(dataset, "PresentationLUTSequence", False, notes),
        padding=_padding(dataset, stored.signed),
        inverted=photometric == "MONOCHROME1",
    )


def placement_of(dataset: pydicom.Dataset, frame: int) -> Placement | None:
    """Where one frame lies; None where the header does not say."""
    cosines = numbers(_group(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient")
    position = numbers(_group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient")
    spacing = numbers(_group(dataset, frame, "PixelMeasuresSequence"), "PixelSpacing")
    if len(cosines) != 6 or len(position) != 3 or len(spacing) != 2:
        return None
    if not all(map(math.isfinite, (*cosines, *position, *spacing))):
        return None
    rows, columns = cosines[:3], cosines[3:]
    if abs(np.linalg.norm(rows) - 1) > 0.01 or abs(np.linalg.norm(columns) - 1) > 0.01:
        return None
    offsets = numbers(dataset, "GridFrameOffsetVector")
    if frame < len(offsets):
        # a dose grid (PS3.3 C.8.8.3.2): planes lie along the normal, by offsets that count from the first
        along = (offsets[frame] - offsets[0]) * np.cross(rows, columns)
        position = tuple(float(p) for p in np.asarray(position) + along)
    return Placement(rows, columns, position, spacing)


def spacing_2d(dataset: pydicom.Dataset, notes: list[str]) -> tuple[float, float]:
    """Distance of rows and of columns in millimetres; NaN where the header says nothing or something impossible."""
    measures = _group(dataset, 0, "PixelMeasuresSequence")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(measures, keyword)
        if not found:
            continue
        if len(found) == 2 and all(value > 0 and math.isfinite(value) for value in found):
            if keyword != "PixelSpacing":
                notes.append("the spacing is that of the detector or scanner, not of the patient")
            return found[0], found[1]
        notes.append("the pixel spacing is not two positive numbers; taken as unknown")
    return math.nan, math.nan


def attributes_of(dataset: pydicom.Dataset) -> dict[str, str | float | int]:
    """Header facts that identify nobody: codes and numbers only."""
    facts: dict[str, str | float | int] = {
        "width": int(dataset.Columns),
        "height": int(dataset.Rows),
        "frames": int((numbers(dataset, "NumberOfFrames") or (1,))[0]),
        "bits": int((numbers(dataset, "BitsStored") or numbers(dataset, "BitsAllocated") or (0,))[0]),
        "colour_mode": code(dataset, "PhotometricInterpretation"),
        "encoding": transfer_syntax(dataset).name,
    }
    for name, keyword in (
        ("view_position", "ViewPosition"),
        ("body_part", "BodyPartExamined"),
        ("laterality", "ImageLaterality"),
        ("burned_in_annotation", "BurnedInAnnotation"),
    ):
        if value := code(dataset, keyword):
            facts[name] = value
    if letters := patient_orientation(dataset):
        facts["patient_orientation"] = "\\".join(letters)
    return facts


def patient_orientation(dataset: pydicom.Dataset) -> tuple[str, str] | None:
    """Directions rows and columns run to, one letter each (PS3.3 C.7.6.1.1.1); None where not given."""
    value = dataset.get("PatientOrientation")
    letters = [str(part).strip()[:1] for part in value] if value and not isinstance(value, str) else []
    return (letters[0], letters[1]) if len(letters) == 2 and set(letters) <= set("LRAPHF") else None


def _group(dataset: pydicom.Dataset, frame: int, macro: str) -> pydicom.Dataset:
    """The functional group of one frame (PS3.3 C.7.6.16), else the shared one, else the dataset itself."""
    for keyword, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(keyword) or ()
        if index < len(items) and (found := items[index].get(macro)):
            return found[0]
    return dataset


def _windows(dataset: pydicom.Dataset, notes: list[str]) -> Iterable[Window]:
    function = code(dataset, "VOILUTFunction") or "LINEAR"
    if function not in _FUNCTIONS:
        notes.append("the VOI LUT function is unknown; LINEAR was used")
        function = "LINEAR"
    for center, width in zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False):
        if not (math.isfinite(center) and math.isfinite(width)) or width <= 0:
            notes.append("a window without a positive width was left out")
        elif width < 1 and function == "LINEAR":
            notes.append("a window narrower than 1 was taken as LINEAR_EXACT")
            yield Window(center, width, "LINEAR_EXACT")
        else:
            yield Window(center, width, function)


def _table(dataset: pydicom.Dataset, keyword: str, signed: bool, notes: list[str]) -> Table | None:
    items = dataset.get(keyword)
    if not items:
        return None
    descriptor, data = numbers(items[0], "LUTDescriptor"), items[0].get("LUTData")
    if len(descriptor) != 3 or not data:
        notes.append("a look-up table without entries was left out")
        return None
    count, first, bits = int(descriptor[0]) or 65536, int(descriptor[1]), int(descriptor[2])
    if isinstance(data, bytes):
        little = "<" if dataset.original_encoding[1] is not False else ">"
        data = np.frombuffer(data, f"{little}u2" if len(data) >= 2 * count else "u1")
    entries = np.atleast_1d(np.asarray(data, dtype=np.float64))[:count]
    if signed and first >= 2**15:
        first -= 2**16
    used = max(int(entries.max()).bit_length(), 8)
    if used > bits or (bits == 16 and used <= 12):
        # devices declare 16 bits and fill 12, or 8 and fill 16: white would be grey, or grey white
        notes.append("a look-up table declares other bits than its entries fill; the entries were believed")
        bits = used
    return Table(first, entries, bits)


def _padding(dataset: pydicom.Dataset, signed: bool) -> tuple[float, float] | None:
    value, limit = numbers(dataset, "PixelPaddingValue"), numbers(dataset, "PixelPaddingRangeLimit")
    if not value:
        return None
    # the type may be the other one of US and SS: the same 16 bits are meant
    ends = [(end + 2**15) % 2**16 - 2**15 if signed else end % 2**16 for end in (value[0], (limit or value)[0])]
    return min(ends), max(ends)
