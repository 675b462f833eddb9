"""A federation of many very small sites, in one process: eight images of 16 px each, one round."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from resight.federated.settings import FederatedSettings
from resight.federated.simulate import run_sites
from resight.federated.site import SiteData
from resight.settings import validate
from resight.training.data import TrainingData
from resight.types import Cohort

SIZE_PX, IMAGES = 16, 8


def run(sites: int, *, secure: bool) -> None:
    """Train one round on that many sites and audit it."""
    data = {f"site {number:03d}": _site(number) for number in range(sites)}
    with tempfile.TemporaryDirectory() as folder:
        run_sites("federated", _settings(secure=secure), data, Path(folder) / "run")


def _settings(*, secure: bool) -> FederatedSettings:
    sections = {
        "cohort": {"path": "."},
        "recipe": {"size_px": [SIZE_PX, SIZE_PX], "channels": 1},
        "model": {"backbone": {"name": "resnet", "depth": 20, "width": 4}},
        "training": {"optimizer": "sgd", "momentum": 0.0, "batch_size": 8, "precision": "fp32", "warmup_epochs": 0},
        "evaluation": {"bootstrap": 20},
        "federation": {"rounds": 1, "privacy": {"secure_aggregation": secure}},
    }
    return validate(FederatedSettings, sections, where="scaling")


def _site(seed: int) -> SiteData:
    rng = np.random.default_rng(seed)
    positive = np.arange(IMAGES) // 4 % 2  # every split has both
    images = rng.normal(100, 12, (IMAGES, 1, SIZE_PX, SIZE_PX))
    images[positive > 0, :, 3:8, 4:9] += 60
    names = [f"{seed}-{number}.png" for number in range(IMAGES)]
    split = np.array(["train", "test", "train", "validation"])[np.arange(IMAGES) % 4]
    table = pd.DataFrame({"a": positive.astype(float), "image": names, "patient_id": names, "split": split})
    cohort = Cohort(table, ("a",), "binary", Path(), f"site {seed}")
    samples, cohorts = {}, {}
    for name in ("train", "validation", "test"):
        part = cohort.rows(split == name)
        samples[name] = TrainingData(
            np.clip(images, 0, 255).astype(np.uint8),
            np.flatnonzero(split == name),
            part.targets(),
            part.mask(),
            tuple(part.table["image"]),
        )
        cohorts[name] = part
    return SiteData(samples, cohorts)
