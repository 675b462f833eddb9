"""The parametric map: the evidence as numbers in the space of the patient, for images that have a place there."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from pydicom.dataset import Dataset

from resight.errors import require
from resight.findings.base import MANUFACTURER, Finding, FoundImage, FoundStudy, derived_uid
from resight.findings.codes import LOCAL_SCHEME, code_of

_SERIES_NUMBER: Final = 9904
_NARROWEST: Final = 1e-6
_NEEDED: Final = ("FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")


def parametric_maps(study: FoundStudy) -> list[Dataset]:
    """One map (PS3.3 A.75) for each single-frame image with a place in space and each finding above its threshold.

    Radiographs have no such place; their evidence is in the secondary capture and in the presentation state.
    """
    require("highdicom", extra="clinic")
    pairs = [
        (image, finding)
        for image in study.images
        if len(image.sources) == 1 and not image.turned and all(keyword in image.sources[0] for keyword in _NEEDED)
        for finding in image.findings
        if finding.decision and finding.label in image.maps
    ]
    return [_map(study, image, finding, number) for number, (image, finding) in enumerate(pairs, start=1)]


def _map(study: FoundStudy, image: FoundImage, finding: Finding, number: int) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.coding import Code as DicomCode

    source = image.sources[0]
    size = int(source.Columns), int(source.Rows)
    evidence = np.nan_to_num(image.maps[finding.label].astype(np.float32))
    on_grid = np.asarray(cv2.resize(evidence, size, interpolation=cv2.INTER_LINEAR))
    low, high = float(on_grid.min()), float(on_grid.max())
    mapping = RealWorldValueMapping(
        lut_label=code_of(finding.label, study.model.codes).value[:16],
        lut_explanation=f"Evidence for {finding.label}"[:64],
        unit=DicomCode("1", "UCUM", "no units"),
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=DicomCode("evidence", LOCAL_SCHEME, f"Evidence for {finding.label}"[:64]),
    )
    found = ParametricMap(
        source_images=[_with_thickness(source)],
        pixel_array=on_grid[np.newaxis],
        series_instance_uid=derived_uid("series", "pm", study.key),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("pm", study.key, source.SOPInstanceUID, finding.label),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=study.model.name[:64],
        software_versions=study.model.software,
        device_serial_number=study.model.version[:64],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, _NARROWEST))
        ],
        content_label="AI_EVIDENCE",
        content_description=study.use[:64],
    )
    found.SeriesDescription = f"AI evidence: {study.model.name}"[:64]
    return found


def _with_thickness(source: Dataset) -> Dataset:
    if "SliceThickness" not in source:
        source.SliceThickness = None
    return source
