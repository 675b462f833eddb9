"""The structured report: TID 1500 (PS3.16) with one measurement group for each image and label."""

from __future__ import annotations

import math
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import ComprehensiveSRStorage

from resight.errors import require
from resight.findings.base import MANUFACTURER, Finding, FoundImage, FoundStudy, derived_uid
from resight.findings.codes import (
    ALERT,
    BELOW,
    CLEARED,
    DECISION,
    PRESENT,
    PROBABILITY,
    RADLEX_FINDING,
    RESEARCH,
    SCORE,
    THRESHOLD,
    USE,
    code_of,
    local_code,
    radlex_of,
)

_NO_UNITS: Final = DicomCode("1", "UCUM", "no units")
_SERIES_NUMBER: Final = 9901
_PROCEDURE: Final = DicomCode("363679005", "SCT", "Imaging procedure")
_DIGITS: Final = 6


def structured_report(study: FoundStudy) -> Dataset:
    """A Comprehensive SR with TID 1500, to be read with `dsrdump`.

    Each group holds the finding as a code, its probability, the decision with operating point and threshold, the model
    as algorithm with its hash, a tracking identifier that stays the same for the same image and label, and the image.
    A finding below its threshold is called just that, never absent or normal.
    """
    require("highdicom", extra="clinic")
    from highdicom import sr

    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", study.model.version),
            name=study.model.name[:64],
            manufacturer_name=MANUFACTURER,
            model_name=study.model.name[:64],
            serial_number=study.model.version[:64],
        ),
    )
    groups = [_group(study, image, finding) for image in study.images for finding in image.findings]
    evidence = [source for image in study.images for source in image.sources]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=_series_uid(study.key),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=_report_uid(study.key),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        institution_name=study.site or None,
        previous_versions=_predecessors(study),
    )
    report.SeriesDescription = f"AI findings: {study.model.name}"[:64]
    report.ManufacturerModelName = study.model.name[:64]
    report.SoftwareVersions = study.model.software
    return report


def _predecessors(study: FoundStudy) -> list[Dataset] | None:
    """The report that this one takes the place of (PS3.3 C.17.2, Predecessor Documents Sequence)."""
    if study.supersedes is None:
        return None
    before = Dataset()
    before.StudyInstanceUID = study.images[0].sources[0].StudyInstanceUID
    before.SeriesInstanceUID, before.SOPInstanceUID = _series_uid(study.supersedes), _report_uid(study.supersedes)
    before.SOPClassUID = ComprehensiveSRStorage
    return [before]


def _series_uid(key: str) -> str:
    return derived_uid("series", "sr", key)


def _report_uid(key: str) -> str:
    return derived_uid("sr", key)


def _group(study: FoundStudy, image: FoundImage, finding: Finding) -> Any:
    from highdicom import sr

    first = image.sources[0]
    name = "series" if len(image.sources) > 1 else "image"
    uid = first.SeriesInstanceUID if len(image.sources) > 1 else first.SOPInstanceUID
    probability = min(max(finding.probability, 0.0), 1.0)
    measured = PROBABILITY if study.calibrated else SCORE
    measurements = [sr.Measurement(name=measured, value=round(probability, _DIGITS), unit=_NO_UNITS)]
    if finding.threshold is not None and math.isfinite(finding.threshold):
        threshold = sr.Measurement(name=THRESHOLD, value=round(finding.threshold, _DIGITS), unit=_NO_UNITS)
        measurements.append(threshold)
    evaluations = [sr.QualitativeEvaluation(USE, CLEARED if study.model.clearance else RESEARCH)]
    if finding.decision is not None:
        evaluations.append(sr.QualitativeEvaluation(DECISION, PRESENT if finding.decision else BELOW))
    if (radlex := radlex_of(finding.label)) is not None:
        evaluations.append(sr.QualitativeEvaluation(RADLEX_FINDING, radlex.dicom()))
    evaluations += [sr.QualitativeEvaluation(ALERT, local_code(alert).dicom()) for alert in image.alerts]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derived_uid("tracking", study.model.name, uid, finding.label),
            identifier=f"{study.model.name}: {finding.label} in {name}"[:64],
        ),
        finding_type=code_of(finding.label, study.model.codes).dicom(),
        algorithm_id=_algorithm(study),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[
            sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID) for source in image.sources
        ],
    )


def _algorithm(study: FoundStudy) -> Any:
    from highdicom import sr

    point = study.operating_point
    said = [
        f"operating point: {point}" if point else "operating point: none, so there are no decisions",
        "probabilities: calibrated" if study.calibrated else "probabilities: not calibrated",
        f"use: {study.use}",
        *([f"intended use: {study.model.intended_use}"] if study.model.intended_use else []),
        f"software: Resight {study.model.software}",
    ]
    return sr.AlgorithmIdentification(
        name=study.model.name, version=study.model.version, parameters=said, manufacturer=MANUFACTURER
    )
