"""Statistics of batch normalisation are those of the images, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from resight.models import Classifier, ModelOptions, build_classifier
from resight.preprocess import Recipe, Store
from resight.training.data import TrainingData
from resight.training.norms import adapt_norms

COUNT, SIZE_PX = 24, 32
CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> TrainingData:
    paths = [tmp_path / f"{number:02d}.png" for number in range(COUNT)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(100, 250, (SIZE_PX, SIZE_PX), dtype=np.uint8))
    store = Store.build(paths, Recipe(size_px=(SIZE_PX, SIZE_PX)), tmp_path / "store", workers=1)
    unknown = np.full((COUNT, 1), np.nan)
    return TrainingData(store, np.arange(COUNT), unknown, ~np.isnan(unknown), tuple(p.name for p in paths))


def network(norm: str = "batch") -> Classifier:
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": 4, "norm": norm}
    return build_classifier(ModelOptions(backbone=backbone), labels=("a",), channels=1, dims=2)


def test_a_channel_has_mean_0_and_variance_1_afterwards(data: TrainingData) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt_norms(model, data, batch_size=8, device=CPU)
    assert not model.training
    images = torch.from_numpy(np.array(data.store.images))
    with torch.no_grad():
        normalised = model.backbone.bn1(model.backbone.conv1(model.normalise(images)))
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(4), atol=2e-2, rtol=0)
    for name, tensor in model.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, before[name]), name
    assert model.backbone.bn1.momentum == 0.1


def test_group_normalisation_has_nothing_to_adapt(data: TrainingData) -> None:
    model = network("group")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt_norms(model, data, batch_size=8, device=CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
