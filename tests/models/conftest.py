"""A small model, its manifest and its bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resight.evaluation import Calibration, LabelCalibration, OperatingPoint, OperatingRule
from resight.imaging import Sentinels
from resight.models import Classifier, Manifest, ModelOptions, build_classifier, save_bundle
from resight.preprocess import Recipe

LABELS = ("effusion", "nodule")
OPTIONS = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4, "zero_init": False})

MakeManifest = Callable[..., Manifest]
MakeClassifier = Callable[..., Classifier]


@pytest.fixture
def make_classifier() -> MakeClassifier:
    def make(seed: int = 0, labels: tuple[str, ...] = LABELS, channels: int = 1, dims: int = 2) -> Classifier:
        torch.manual_seed(seed)
        return build_classifier(OPTIONS, labels=labels, channels=channels, dims=dims).eval()

    return make


@pytest.fixture
def make_manifest() -> MakeManifest:
    def make(**changes: Any) -> Manifest:
        points = tuple(
            OperatingPoint(name=name, label=label, threshold=threshold, rule=OperatingRule(), sensitivity=0.9)
            for name, threshold in (("youden", 0.5), ("all", 0.0))
            for label in changes.get("labels", LABELS)
        )
        values: dict[str, Any] = {
            "labels": LABELS,
            "task": "multilabel",
            "recipe": Recipe(size_px=(32, 32)),
            "model": OPTIONS,
            "operating_points": points,
            "intended_use": "Tests.",
            "metrics": {"macro": {"auroc": {"value": 0.81, "low": 0.7, "high": 0.9, "n": 100}}},
            "data": {"name": "phantoms", "images": {"train": 10}},
        }
        return Manifest(**values | changes)

    return make


@pytest.fixture
def calibration() -> Calibration:
    return Calibration(task="multilabel", labels=(LabelCalibration(method="platt", scale=2.0, bias=-1.0),) * 2)


@pytest.fixture
def sentinels(rng: np.random.Generator) -> Sentinels:
    ramp = np.linspace(40, 200, 32)[:, None] + np.linspace(0, 30, 32)
    noise = rng.normal(0, 8, (40, 1, 32, 32))
    return Sentinels.fit(np.clip(ramp + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def bundle_folder(tmp_path: Path, make_classifier: MakeClassifier, make_manifest: MakeManifest) -> Path:
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest())
    return tmp_path / "bundle"
