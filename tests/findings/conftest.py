"""A study with one radiograph and one CT slice, and what a model found in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from resight.findings import Finding, FoundImage, FoundStudy, ModelIdentity, source_dataset

TEXTS = {
    "AccessionNumber": "A1",
    "BodyPartExamined": "CHEST",
    "Modality": "DX",
    "PatientBirthDate": "19600102",
    "PatientID": "P7",
    "PatientName": "Müller^Jürgen",
    "PatientSex": "M",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
    "SOPInstanceUID": "1.2.3.4",
    "SeriesInstanceUID": "1.2.3",
    "StudyDate": "20260102",
    "StudyID": "S1",
    "StudyInstanceUID": "1.2",
    "StudyTime": "101112",
}
NUMBERS: dict[str, list[float]] = {"Columns": [200], "Rows": [240], "SamplesPerPixel": [1], "InstanceNumber": [1]}
IN_SPACE: dict[str, list[float]] = {
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": [-100.5, -120.25, 33.0],
    "PixelSpacing": [0.7, 0.7],
    "SliceThickness": [5.0],
}


@pytest.fixture
def radiograph() -> Dataset:
    return source_dataset(TEXTS, NUMBERS, "1.2.840.10008.1.2.1")


@pytest.fixture
def ct_slice() -> Dataset:
    texts = TEXTS | {
        "Modality": "CT",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": "1.2.3.5",
        "FrameOfReferenceUID": "1.2.9",
    }
    return source_dataset(texts, NUMBERS | IN_SPACE, "1.2.840.10008.1.2.1")


@pytest.fixture
def make_study(rng: np.random.Generator) -> Callable[..., FoundStudy]:
    spot = np.zeros((240, 200), np.float32)
    spot[60:110, 40:90] = 1.0

    def make(*sources: Dataset, **changes: Any) -> FoundStudy:
        findings = (Finding("Effusion", 0.8125, 0.4, 1), Finding("Stroke-like_thing", 0.25, 0.5, 0))
        picture = rng.integers(0, 255, (1, 240, 200)).astype(np.uint8)
        images = tuple(
            FoundImage((source,), findings, ("rotated",), picture, {"Effusion": spot, "Stroke-like_thing": spot})
            for source in sources
        )
        model = ModelIdentity("chest", "ab" * 32, "0.1.0", "Sort a worklist.")
        values: dict[str, Any] = {"key": "k", "model": model, "images": images, "operating_point": "youden"}
        return FoundStudy(**values | {"calibrated": True, "site": "St. Elsewhere"} | changes)

    return make
