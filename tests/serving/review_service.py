"""A service with studies that a small model has answered, for tests of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydicom.dataset import Dataset
from serving_images import radiograph, write

from resight.evaluation import (
    Calibration,
    Conformal,
    LabelCalibration,
    OperatingPoint,
    OperatingRule,
)
from resight.models import Manifest, ModelOptions, build_classifier, save_bundle
from resight.preprocess import Recipe
from resight.serving.parts import Parts
from resight.serving.worker import Worker

LABELS = ("effusion", "mass", "nodule")
CT = "1.2.840.10008.5.1.4.1.1.2"
_OPTIONS = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4, "zero_init": False})


def write_bundle(folder: Path, *, dims: Literal[2, 3] = 2, **changes: Any) -> Path:
    """A bundle whose thresholds call `mass` present and `nodule` absent on every image or volume."""
    torch.manual_seed(0)
    model = build_classifier(_OPTIONS, labels=LABELS, channels=1, dims=dims).eval()
    thresholds = {"effusion": 0.5, "mass": 0.0, "nodule": 1.0}
    values: dict[str, Any] = {
        "labels": LABELS,
        "task": "multilabel",
        "recipe": Recipe(size_px=(32,) * dims),
        "model": _OPTIONS,
        "calibration": Calibration(
            task="multilabel", labels=(LabelCalibration(method="platt", scale=2.0, bias=0.1),) * 3
        ),
        "conformal": Conformal(
            task="multilabel",
            method="class_conditional",
            coverage=0.9,
            labels=({"present": 0.0, "absent": 0.0},) * 3,
        ),
        "operating_points": tuple(
            OperatingPoint(
                name="screening", label=label, threshold=thresholds[label], rule=OperatingRule(), sensitivity=0.91
            )
            for label in LABELS
        ),
        "intended_use": "Tests of pages.",
        "limits": ("Not for children.",),
    }
    save_bundle(folder, model, Manifest(**values | changes))
    return folder


def model_settings(bundle: Path) -> dict[str, Any]:
    return {"name": "chest", "bundle": bundle, "modalities": ("DX",), "engine": "torch", "refuse": ()}


def deep(seed: int, **changes: Any) -> Dataset:
    """A radiograph of 12 bits with a window, dark left and bright right of the middle."""
    size = 64
    rng = np.random.default_rng(seed)
    values = np.tile(np.linspace(500, 3500, size), (size, 1)) + rng.normal(0, 50, (size, size))
    given: dict[str, Any] = {
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "WindowCenter": 2000,
        "WindowWidth": 2000,
        "PixelData": values.round().clip(0, 4095).astype("<u2").tobytes(),
    }
    return radiograph(seed, size_px=size, **given | changes)


def ct_slice(place: int, *, study: str, size_px: int = 32) -> Dataset:
    """One slice of a CT; every voxel is at -1000 HU plus 100 HU a slice."""
    return radiograph(
        study=study,
        number=place + 1,
        size_px=size_px,
        SOPClassUID=CT,
        Modality="CT",
        ViewPosition=None,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=40,
        WindowWidth=400,
        FrameOfReferenceUID=f"{study}.9",
        ImagePositionPatient=[0, 0, 5.0 * place],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.5, 0.5],
        SliceThickness=5,
        PixelData=np.full((size_px, size_px), 24 + 100 * place, "<u2").tobytes(),
    )


def take_in(parts: Parts, *datasets: Dataset) -> None:
    """Hand objects in as the node does, and answer them as the worker does."""
    for dataset in datasets:
        outcome = parts.intake.accept(write(dataset, parts.intake.spool()), "test")
        assert outcome.state == "kept", outcome
    worker = Worker(parts.service, parts.intake, parts.models, parts.sandbox)
    worker.settle()
    while (study := worker.next_study()) is not None:
        worker.process(study)
