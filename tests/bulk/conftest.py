"""A small bundle and a folder of pictures, one of them broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from resight.evaluation import OperatingPoint, OperatingRule
from resight.models import Manifest, ModelOptions, build_classifier, save_bundle
from resight.preprocess import Recipe

LABELS = ("effusion", "nodule")
OPTIONS = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4, "zero_init": False})


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[[str, int], Path]:
    def make(name: str, seed: int) -> Path:
        torch.manual_seed(seed)
        points = tuple(
            OperatingPoint(name="youden", label=label, threshold=0.5, rule=OperatingRule(), sensitivity=0.9)
            for label in LABELS
        )
        manifest = Manifest(
            labels=LABELS,
            task="multilabel",
            recipe=Recipe(size_px=(32, 32)),
            model=OPTIONS,
            operating_points=points,
            intended_use="Tests.",
        )
        save_bundle(tmp_path / name, build_classifier(OPTIONS, labels=LABELS, channels=1, dims=2).eval(), manifest)
        return tmp_path / name

    return make


@pytest.fixture
def bundle_folder(make_bundle: Callable[[str, int], Path]) -> Path:
    return make_bundle("bundle", 0)


@pytest.fixture
def pictures(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Ten pictures, one of them in a deeper folder, and one that is cut off."""
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    for number in range(9):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (40, 50), dtype=np.uint8))
    cv2.imwrite(str(folder / "deeper" / "9.png"), rng.integers(0, 256, (40, 50), dtype=np.uint8))
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:200])
    return folder
