"""The secondary capture: the image with the evidence laid over it and the findings written beside it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset

from resight.errors import require
from resight.explain import overlay
from resight.findings.base import MANUFACTURER, Finding, FoundImage, FoundStudy, derived_uid

_SERIES_NUMBER: Final = 9902
_LONGEST_SIDE_PX: Final = 1024
_LINE_PX: Final = 22
_MARGIN_PX: Final = 10
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SCALE: Final = 0.5
_MOST_LINES: Final = 20
Picture = UInt8[np.ndarray, "H W 3"]


def secondary_captures(study: FoundStudy) -> list[Dataset]:
    """One colour picture for each image that has a picture: evidence for its most likely finding, and all findings."""
    require("highdicom", extra="clinic")
    images = [image for image in study.images if image.picture is not None]
    return [_capture(study, image, number) for number, image in enumerate(images, start=1)]


def draw(study: FoundStudy, image: FoundImage) -> Picture:
    """The picture of one image: evidence above, text below.

    The evidence shown is that for the finding that is furthest above its threshold.
    """
    assert image.picture is not None
    shown = max(image.findings, key=_urgency, default=None)
    pixels = image.picture
    evidence = None if shown is None else image.maps.get(shown.label)
    if evidence is not None:
        pixels = overlay(pixels, evidence, contour=0.5)
    picture = np.moveaxis(np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels, 0, -1)
    return np.concatenate(
        [_fitted(np.ascontiguousarray(picture)), _text(_lines(study, image, shown, evidence is not None))]
    )


def _capture(study: FoundStudy, image: FoundImage, number: int) -> Dataset:
    from highdicom.sc import SCImage

    source = image.sources[len(image.sources) // 2]
    capture = SCImage(
        pixel_array=draw(study, image),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=derived_uid("series", "sc", study.key),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("sc", study.key, source.SOPInstanceUID),
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


def _urgency(finding: Finding) -> float:
    return finding.probability - (finding.threshold or 0.0)


def _lines(study: FoundStudy, image: FoundImage, shown: Finding | None, has_evidence: bool) -> list[str]:
    point = f"operating point {study.operating_point}" if study.operating_point else "no operating point, no decisions"
    kind = "probability" if study.calibrated else "uncalibrated score"
    lines = [study.use, f"{study.model.name} {study.model.version[:12]}, {kind}, {point}"]
    if has_evidence and shown is not None:
        lines.append(f"shown: where the evidence for {shown.label} lies")
    lines += [f"image alert: {alert}" for alert in image.alerts]
    ordered = sorted(image.findings, key=_urgency, reverse=True)
    for finding in ordered[:_MOST_LINES]:
        line = f"{finding.label}: {finding.probability:.2f}"
        if finding.decision is not None and finding.threshold is not None:
            side = "at or above" if finding.decision else "below"
            line += f", {side} the threshold {finding.threshold:.2f}"
        lines.append(line)
    if len(ordered) > _MOST_LINES:
        lines.append(f"and {len(ordered) - _MOST_LINES} more labels, in the structured report")
    return lines


def _fitted(picture: Picture) -> Picture:
    """The picture at 1024 pixels in width, so that the text below has one size; heights up to twice that."""
    height, width = picture.shape[:2]
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
