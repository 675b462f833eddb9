"""Small sites in memory: a bright square says that an image is positive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from resight.federated.settings import FederatedSettings
from resight.federated.site_data import SiteData
from resight.settings import validate
from resight.training.data import TrainingData
from resight.types import Cohort

SIZE_PX = 16


def make_data(count: int, seed: int, labels: tuple[str, ...] = ("square",), positives: float = 0.5) -> SiteData:
    """Images of one site by split; every fourth is a test image, every fifth a validation image."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, len(labels))) < positives).astype(float)
    images = rng.normal(100, 12, (count, 1, SIZE_PX, SIZE_PX))
    for column in range(len(labels)):
        images[targets[:, column] > 0, :, 3 : 8 + column, 4:9] += 60
    store = np.clip(images, 0, 255).astype(np.uint8)
    split = np.array(["train", "test", "train", "validation"])[np.arange(count) % 4]
    table = pd.DataFrame(targets, columns=list(labels))
    table["image"] = [f"{seed}-{number}.png" for number in range(count)]
    table["patient_id"] = table["image"]
    table["split"] = split
    table["sex"] = np.where(rng.random(count) < 0.5, "F", "M")
    cohort = Cohort(table, labels, "binary" if len(labels) == 1 else "multilabel", Path(), f"site {seed}")
    samples, cohorts = {}, {}
    for name in ("train", "validation", "test"):
        keep = split == name
        part = cohort.rows(keep)
        names = tuple(part.table["image"])
        samples[name] = TrainingData(store, np.flatnonzero(keep), part.targets(), part.mask(), names)
        cohorts[name] = part
    return SiteData(samples, cohorts)


def make_settings(**federation: Any) -> FederatedSettings:
    """Settings of a very small federation; `training` and `model` may be given beside the keys of `federation`."""
    training = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 0.2,
        "weight_decay": 0.0,
        "batch_size": 8,
        "precision": "fp32",
        "warmup_epochs": 0,
    }
    backbone = {"name": "resnet", "depth": 20, "width": 4}
    data = {
        "cohort": federation.pop("cohort", {"path": "."}),
        "recipe": {"size_px": [SIZE_PX, SIZE_PX], "channels": federation.pop("channels", 1)}
        | federation.pop("recipe", {}),
        "model": {"backbone": backbone | federation.pop("backbone", {})} | federation.pop("model", {}),
        "training": training | federation.pop("training", {}),
        "evaluation": {"bootstrap": 20},
        "simulation": federation.pop("simulation", {}),
        "federation": {"rounds": 2} | federation,
    }
    return validate(FederatedSettings, data, where="test")


@pytest.fixture
def data() -> Callable[..., SiteData]:
    return make_data


@pytest.fixture
def settings() -> Callable[..., FederatedSettings]:
    return make_settings


@pytest.fixture
def three() -> dict[str, SiteData]:
    return {name: make_data(count, seed) for name, count, seed in (("a", 48, 1), ("b", 64, 2), ("c", 80, 3))}
