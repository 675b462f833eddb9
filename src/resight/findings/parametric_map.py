"""The parametric map: the evidence as numbers in the space of the patient, for images that have a place there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset

from resight.errors import require
from resight.findings.base import MANUFACTURER, Finding, FoundImage, FoundStudy, FoundVolume, along_slices, derived_uid
from resight.findings.codes import LOCAL_SCHEME, code_of
from resight.preprocess.geometry import between_grids

_SERIES_NUMBER: Final = 9904
_NARROWEST: Final = 1e-6
_NEEDED: Final = ("FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
_LONGEST_SIDE_PX: Final = 256
"""Of the frames of a volume's map: finer than any network's map, and a CT's does not become larger than the CT."""
_STEPS: Final = 65535


@dataclass(frozen=True, eq=False)
class _Map:
    """What one object holds; `geometry` for highdicom where frames do not lie on the sources pixel by pixel."""

    sources: tuple[Dataset, ...]
    finding: Finding
    frames: Float[np.ndarray, "N H W"]
    geometry: dict[str, Any] = field(default_factory=dict[str, Any])


def parametric_maps(study: FoundStudy) -> list[Dataset]:
    """One map (PS3.3 A.75) for each finding above its threshold of an image or volume with a place in space.

    The frames of a volume's map lie on the planes of its slices, be they files of their own or the frames of one file.
    Radiographs have no place in space; their evidence is in the secondary capture and in the presentation state.
    A volume put together out of several multi-frame objects has no map either: a map refers to one such object only.
    """
    require("highdicom", extra="clinic")
    maps = [one for image in study.images for one in _maps(image)]
    return [_written(study, one, number) for number, one in enumerate(maps, start=1)]


def _maps(image: FoundImage) -> Iterator[_Map]:
    present = [finding for finding in image.findings if finding.decision]
    source, volume = image.sources[0], image.volume
    if volume is not None and volume.affine is not None and "FrameOfReferenceUID" in source:
        height, width = volume.evidence.space[-2:]
        step = math.ceil(max(height, width) / _LONGEST_SIDE_PX)
        evidence = volume.evidence.on((volume.evidence.space[0], -(-height // step), -(-width // step)))
        sources = along_slices(image.sources)
        if any("NumberOfFrames" in one for one in sources):
            if len(sources) > 1:
                return
            sources = (_with_frames(source, volume),)
        for finding in present:
            frames = np.stack([evidence.plane(finding.label, place) for place in range(evidence.space[0])])
            yield _Map(sources, finding, frames, _geometry(volume, evidence.space))
    elif len(image.sources) == 1 and not image.turned and all(keyword in source for keyword in _NEEDED):
        size = int(source.Columns), int(source.Rows)
        for finding in present:
            if (evidence := image.maps.get(finding.label)) is not None:
                plane = np.asarray(cv2.resize(evidence.astype(np.float32), size, interpolation=cv2.INTER_LINEAR))
                yield _Map((source,), finding, plane[np.newaxis])


def _geometry(volume: FoundVolume, space: tuple[int, ...]) -> dict[str, Any]:
    """Orientation, spacing and positions of frames of this many rows and columns over the whole of each slice."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    assert volume.affine is not None
    affine = volume.affine @ between_grids(space, volume.evidence.space)
    slices, rows, columns = (affine[:3, i] for i in range(3))
    spacing = [float(np.linalg.norm(axis)) for axis in (rows, columns)]
    # of a tilted gantry the distance along the normal is less than that of the corners
    apart = abs(float(np.dot(slices, np.cross(columns, rows)))) / math.prod(spacing)
    corners = [(affine @ (place, 0, 0, 1))[:3].tolist() for place in range(space[0])]
    return {
        "pixel_measures": PixelMeasuresSequence(spacing, slice_thickness=apart, spacing_between_slices=apart),
        "plane_orientation": PlaneOrientationSequence("PATIENT", [*columns / spacing[1], *rows / spacing[0]]),
        "plane_positions": [PlanePositionSequence("PATIENT", [round(mm, 6) for mm in corner]) for corner in corners],
    }


def _with_frames(source: Dataset, volume: FoundVolume) -> Dataset:
    """The header of a multi-frame object with what the map needs of its functional groups (PS3.3 C.7.6.16)."""
    geometry = _geometry(volume, volume.evidence.space)
    positions = geometry["plane_positions"]
    shared = Dataset()
    shared.PlaneOrientationSequence = geometry["plane_orientation"]
    shared.PixelMeasuresSequence = geometry["pixel_measures"]
    frames = [Dataset() for _ in positions]
    for number, position in zip(volume.frames or range(1, len(frames) + 1), positions, strict=True):
        frames[number - 1].PlanePositionSequence = position
    placed = copy(source)
    placed.SharedFunctionalGroupsSequence, placed.PerFrameFunctionalGroupsSequence = [shared], frames
    return placed


def _written(study: FoundStudy, one: _Map, number: int) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.coding import Code as DicomCode

    label = one.finding.label
    frames = np.nan_to_num(one.frames)
    low = float(frames.min(initial=0.0))
    slope = max(float(frames.max(initial=0.0)) - low, _NARROWEST) / _STEPS
    # 16 bits are more than a network's map means, and half of what floating point takes
    stored = np.rint((frames - low) / slope).astype(np.uint16)
    mapping = RealWorldValueMapping(
        lut_label=code_of(label, study.model.codes).value[:16],
        lut_explanation=f"Evidence for {label}"[:64],
        unit=DicomCode("1", "UCUM", "no units"),
        value_range=(0, _STEPS),
        slope=slope,
        intercept=low,
        quantity_definition=DicomCode("evidence", LOCAL_SCHEME, f"Evidence for {label}"[:64]),
    )
    found = ParametricMap(
        source_images=[_with_thickness(source) for source in one.sources],
        pixel_array=stored,
        series_instance_uid=derived_uid("series", "pm", study.key),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("pm", study.key, one.sources[0].SOPInstanceUID, label),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=study.model.name[:64],
        software_versions=study.model.software,
        device_serial_number=study.model.version[:64],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=_STEPS / 2, window_width=_STEPS)],
        content_label="AI_EVIDENCE",
        content_description=study.use[:64],
        **one.geometry,
    )
    found.SeriesDescription = f"AI evidence: {study.model.name}"[:64]
    return found


def _with_thickness(source: Dataset) -> Dataset:
    if "SliceThickness" not in source:
        source.SliceThickness = None
    return source
