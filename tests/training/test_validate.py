"""Features of views are those of the mirrored images, of whatever stage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from resight.models import ModelOptions, build_classifier, view
from resight.preprocess import Recipe, Store
from resight.training.data import TrainingData
from resight.training.validate import view_features

COUNT, SIZE_PX = 9, 32


@pytest.mark.parametrize("stage", [-1, 1])
def test_features_of_views_are_those_of_the_mirrored_images(
    tmp_path: Path, rng: np.random.Generator, stage: int
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(COUNT)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (SIZE_PX, SIZE_PX), dtype=np.uint8))
    store = Store.build(paths, Recipe(size_px=(SIZE_PX, SIZE_PX)), tmp_path / "store", workers=1)
    unknown = np.full((COUNT, 1), np.nan)
    data = TrainingData(store, np.arange(COUNT), unknown, ~np.isnan(unknown), tuple(p.name for p in paths))
    backbone = {"name": "resnet", "depth": 10, "width": 4, "zero_init": False}
    model = build_classifier(ModelOptions(backbone=backbone), labels=("a",), channels=1, dims=2).eval()
    found = view_features(
        model, data, n_views=3, batch_size=4, device=torch.device("cpu"), precision="fp32", stage=stage
    )
    images = torch.from_numpy(np.array(data.store.images))
    with torch.no_grad():
        expected = model.stages(view(images, 2))[stage].mean((2, 3))
        if stage == -1:
            torch.testing.assert_close(expected, model.features(view(images, 2)))
    np.testing.assert_allclose(found[:, 2], expected.numpy(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[:, 0], found[:, 2])
