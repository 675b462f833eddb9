"""The presentation state: findings and outlines of the evidence over the original image, to be switched on and off."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset

from resight.errors import require
from resight.findings.base import MANUFACTURER, FoundImage, FoundStudy, derived_uid

_SERIES_NUMBER: Final = 9903
_LAYER: Final = "AI"
_SHARE_OF_PEAK: Final = 0.5
_FEWEST_PX: Final = 9
_MOST_POINTS: Final = 200


def presentation_states(study: FoundStudy) -> list[Dataset]:
    """One Grayscale Softcopy Presentation State for each single-frame grey image (PS3.3 A.33.1)."""
    require("highdicom", extra="clinic")
    images = [image for image in study.images if _fits(image)]
    return [_state(study, image, number) for number, image in enumerate(images, start=1)]


def outlines(evidence: Float[np.ndarray, "H W"], height: int, width: int) -> list[Float[np.ndarray, "P 2"]]:
    """Closed outlines `(column, row)` of the region with at least half of the peak, on a grid of another size."""
    positive = np.nan_to_num(evidence.astype(np.float32)).clip(min=0)
    if positive.max(initial=0.0) <= 0:
        return []
    region = (positive >= _SHARE_OF_PEAK * positive.max()).astype(np.uint8)
    found, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([width / region.shape[1], height / region.shape[0]])
    lines = [contour[:, 0, :].astype(np.float64) for contour in found if cv2.contourArea(contour) >= _FEWEST_PX]
    closed = [np.concatenate([line, line[:1]])[:: max(1, len(line) // _MOST_POINTS)] for line in lines]
    # DICOM counts from the outer edge: the middle of the first pixel is 0.5 (PS3.3 C.10.5.1.2)
    return [np.clip((np.concatenate([c, c[:1]]) + 0.5) * scale, 0, [width, height]) for c in closed]


def _fits(image: FoundImage) -> bool:
    source = image.sources[0]
    frames = int(source.get("NumberOfFrames") or 1)
    return len(image.sources) == 1 and frames == 1 and int(source.get("SamplesPerPixel") or 1) == 1


def _state(study: FoundStudy, image: FoundImage, number: int) -> Dataset:
    from highdicom import pr

    source = image.sources[0]
    layer = pr.GraphicLayer(layer_name=_LAYER, order=1, description="Findings of a model")
    positive = [finding for finding in image.findings if finding.decision]
    height, width = int(source.Rows), int(source.Columns)
    objects = [
        pr.GraphicObject(graphic_type="POLYLINE", graphic_data=line, units="PIXEL")
        for finding in positive
        if finding.label in image.maps and not image.turned
        for line in outlines(image.maps[finding.label], height, width)
    ]
    lines = [f"{f.label} {f.probability:.2f}" for f in positive] or ["no finding at or above its threshold"]
    if study.operating_point is None:
        lines = [f"{f.label} {f.probability:.2f}" for f in image.findings]
    point = study.operating_point or "none"
    text = "\r\n".join(
        [*lines, f"{study.model.name} {study.model.version[:12]}", f"operating point {point}", study.use]
    )
    note = pr.TextObject(
        text_value=text[:1024], units="DISPLAY", bounding_box=(0.01, 0.01, 0.6, 0.3), text_justification="LEFT"
    )
    annotation = pr.GraphicAnnotation([source], layer, graphic_objects=objects or None, text_objects=[note])
    state = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[source],
        series_instance_uid=derived_uid("series", "gsps", study.key),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("gsps", study.key, source.SOPInstanceUID),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=study.model.name[:64],
        software_versions=study.model.software,
        device_serial_number=study.model.version[:64],
        content_label="AI_FINDINGS",
        content_description=study.use[:64],
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        institution_name=study.site or None,
    )
    state.SeriesDescription = f"AI outlines: {study.model.name}"[:64]
    return state
