"""The secondary capture: the image with the evidence laid over it and the findings written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset

from resight.errors import require
from resight.explain import overlay, telling_slices
from resight.findings.base import (
    MANUFACTURER,
    FoundImage,
    FoundStudy,
    along_slices,
    as_bytes,
    derived_uid,
    urgency,
)

_SERIES_NUMBER: Final = 9902
_LONGEST_SIDE_PX: Final = 1024
_LINE_PX: Final = 22
_MARGIN_PX: Final = 10
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SCALE: Final = 0.5
_MOST_LINES: Final = 20
_MOST_SLICES: Final = 3
_CONTOUR: Final = 0.5
"""Share of the strongest evidence that an outline is drawn at."""
Picture = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """One picture, the header it belongs to, and which part of the image it is."""

    picture: Picture
    source: Dataset
    part: str = ""


def secondary_captures(study: FoundStudy) -> list[Dataset]:
    """Colour pictures (PS3.3 A.8.1): one an image, or up to three slices of a volume, where the evidence is strongest.

    Each shows the evidence for the finding that is furthest above its threshold, and all findings in words.
    """
    require("highdicom", extra="clinic")
    drawn = [one for image in study.images for one in _drawn(study, image)]
    return [_capture(study, one, number) for number, one in enumerate(drawn, start=1)]


def _drawn(study: FoundStudy, image: FoundImage) -> Iterator[_Drawn]:
    shown = image.most_urgent
    if image.picture is not None:
        evidence = None if shown is None else image.maps.get(shown.label)
        pixels = image.picture if evidence is None else overlay(image.picture, evidence, contour=_CONTOUR)
        lines = _lines(study, image, "" if evidence is None or shown is None else f"evidence for {shown.label} lies")
        yield _Drawn(_composed(pixels, lines), image.sources[len(image.sources) // 2])
    elif image.volume is not None and shown is not None:
        volume, sources = image.volume, along_slices(image.sources)
        profile = volume.evidence.profile(shown.label)
        for place in telling_slices(profile, _MOST_SLICES):
            pixels = as_bytes(volume.pixels[:, place])
            plane = volume.evidence.plane(shown.label, place)
            coloured = overlay(pixels, plane, peak=float(profile.max()), contour=_CONTOUR)
            source = sources[place] if len(sources) == len(profile) else sources[0]
            where = f"evidence for {shown.label} is strong: {_name(source, place, len(profile))}"
            picture = _composed(coloured, _lines(study, image, where), volume.spacing_mm[-2] / volume.spacing_mm[-1])
            yield _Drawn(picture, source, f"slice {place}")


def _composed(pixels: UInt8[np.ndarray, "C H W"], lines: list[str], aspect: float = math.nan) -> Picture:
    """The picture above and words below; `aspect` is the height of a pixel over its width."""
    picture = np.moveaxis(np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels, 0, -1)
    return np.concatenate([_fitted(np.ascontiguousarray(picture), aspect), _text(lines)])


def _name(source: Dataset, place: int, depth: int) -> str:
    number = source.get("InstanceNumber")
    of_series = f", instance {number}" if number is not None and not source.get("NumberOfFrames") else ""
    return f"slice {place + 1} of {depth}{of_series}"


def _capture(study: FoundStudy, drawn: _Drawn, number: int) -> Dataset:
    from highdicom.sc import SCImage

    source = drawn.source
    capture = SCImage(
        pixel_array=drawn.picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=derived_uid("series", "sc", study.key),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid(*filter(None, ("sc", study.key, source.SOPInstanceUID, drawn.part))),
        instance_number=number,
        manufacturer=MANUFACTURER,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex if source.PatientSex in ("M", "F", "O") else None,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate,
        study_time=source.StudyTime,
        referring_physician_name=source.ReferringPhysicianName,
        patient_orientation=("L", "F"),
    )
    capture.SeriesDescription = f"AI overlay: {study.model.name}"[:64]
    capture.ManufacturerModelName = study.model.name[:64]
    capture.SoftwareVersions = study.model.software
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = f"{study.model.name} {study.model.version[:12]}; {study.use}"[:1024]
    capture.ImageType = ["DERIVED", "SECONDARY"]
    # of the picture with the text below it: required, and may be empty
    capture["PatientOrientation"].value = None
    return capture


def _lines(study: FoundStudy, image: FoundImage, where: str) -> list[str]:
    point = f"operating point {study.operating_point}" if study.operating_point else "no operating point, no decisions"
    kind = "probability" if study.calibrated else "uncalibrated score"
    lines = [study.use, f"{study.model.name} {study.model.version[:12]}, {kind}, {point}"]
    if where:
        lines.append(f"shown: where the {where}")
    lines += [f"image alert: {alert}" for alert in image.alerts]
    ordered = sorted(image.findings, key=urgency, reverse=True)
    for finding in ordered[:_MOST_LINES]:
        line = f"{finding.label}: {finding.probability:.2f}"
        if finding.decision is not None and finding.threshold is not None:
            side = "at or above" if finding.decision else "below"
            line += f", {side} the threshold {finding.threshold:.2f}"
        lines.append(line)
    if len(ordered) > _MOST_LINES:
        lines.append(f"and {len(ordered) - _MOST_LINES} more labels, in the structured report")
    return lines


def _fitted(picture: Picture, aspect: float) -> Picture:
    """The picture at 1024 pixels in width, so that the text below has one size; heights up to twice that."""
    height, width = picture.shape[:2]
    height *= aspect if math.isfinite(aspect) else 1.0
    factor = min(_LONGEST_SIDE_PX / width, 2 * _LONGEST_SIDE_PX / height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    fitted = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR))
    right = _LONGEST_SIDE_PX - fitted.shape[1]
    return np.pad(fitted, ((0, 0), (0, max(right, 0)), (0, 0)))


def _text(lines: list[str]) -> Picture:
    strip = np.zeros((_LINE_PX * len(lines) + 2 * _MARGIN_PX, _LONGEST_SIDE_PX, 3), np.uint8)
    for number, line in enumerate(lines):
        # OpenCV's letters are those of ASCII
        plain = line.encode("ascii", "replace").decode()
        place = (_MARGIN_PX, _MARGIN_PX + _LINE_PX * number + 16)
        cv2.putText(strip, plain, place, _FONT, _SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return strip
