"""Views of an image become alike while images stay apart; planted content is learned without labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from resight.errors import SettingsError, TrainingError
from resight.models import Classifier, ModelOptions, build_classifier
from resight.preprocess import Augmentation, Recipe, Store
from resight.training import TrainingOptions
from resight.training.data import TrainingData
from resight.training.pretrain import Pretraining, _apart, pretrain

COUNT, SIZE_PX = 64, 32
OPTIONS = TrainingOptions(epochs=20, batch_size=16, learning_rate=1e-2, ema_decay=0.9, precision="fp32", threads=1)
VIEWS = Augmentation(gain=0.4, offset=0.1, translate=0.05)


def network(width: int = 8) -> Classifier:
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": width}
    return build_classifier(ModelOptions(backbone=backbone), labels=("a",), channels=1, dims=2)


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> TrainingData:
    """Stripes along or across; brightness and contrast, which views change, say nothing."""
    paths = []
    for number in range(COUNT):
        wave = np.sin(np.arange(SIZE_PX) * 0.8 + rng.uniform(0, 6))
        stripes = np.tile(wave, (SIZE_PX, 1))
        picture = rng.uniform(80, 170) + rng.uniform(10, 60) * (stripes if number % 2 else stripes.T)
        paths.append(tmp_path / f"{number:02d}.png")
        cv2.imwrite(str(paths[-1]), np.clip(picture + rng.normal(0, 20, picture.shape), 0, 255).astype(np.uint8))
    store = Store.build(paths, Recipe(size_px=(SIZE_PX, SIZE_PX), channels=1), tmp_path / "store", workers=1)
    unknown = np.full((COUNT, 1), np.nan)
    return TrainingData(store, np.arange(COUNT), unknown, ~np.isnan(unknown), tuple(p.name for p in paths))


def run(
    model: Classifier, data: TrainingData, folder: Path, options: TrainingOptions = OPTIONS, *, resume: bool = False
) -> Pretraining:
    return pretrain(model, data, options, folder=folder, augmentation=VIEWS, resume=resume)


def test_nothing_flows_back_through_the_projection() -> None:
    predicted, projected = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    _apart(predicted, projected).backward()
    assert predicted.grad is not None
    assert projected.grad is None


def test_views_become_alike_and_images_do_not_collapse(data: TrainingData, tmp_path: Path) -> None:
    model = network()
    head = model.head.state_dict()["fc.weight"].clone()
    found = run(model, data, tmp_path / "run")
    assert found.epoch == OPTIONS.epochs == len(found.similarity) == len(found.spread)
    assert found.similarity[-1] > found.similarity[0] + 0.15
    assert found.spread[-1] > 0.5
    assert torch.equal(model.head.state_dict()["fc.weight"], head)


def test_the_network_is_the_average_and_not_that_of_the_beginning(data: TrainingData, tmp_path: Path) -> None:
    model, fresh = network(), network()
    run(model, data, tmp_path / "run", OPTIONS.model_copy(update={"epochs": 1}))
    assert not torch.equal(model.backbone.state_dict()["conv1.weight"], fresh.backbone.state_dict()["conv1.weight"])


def test_a_break_changes_nothing(data: TrainingData, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"epochs": 2, "schedule": "constant", "warmup_epochs": 0.0})
    whole, parts = network(), network()
    run(whole, data, tmp_path / "whole", options)
    run(network(), data, tmp_path / "parts", options.model_copy(update={"epochs": 1}))
    again = run(parts, data, tmp_path / "parts", options, resume=True)
    assert again.epoch == 2
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=0, atol=0)


def test_what_cannot_teach_is_refused(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="two views of an image would be the same"):
        pretrain(network(), data, OPTIONS, folder=tmp_path, augmentation=Augmentation())
    with pytest.raises(TrainingError, match="batches of 1; expected at least 2 images"):
        run(network(), data, tmp_path, OPTIONS.model_copy(update={"batch_size": 1}))
    run(network(), data, tmp_path / "run", OPTIONS.model_copy(update={"epochs": 1}))
    with pytest.raises(TrainingError, match="another network"):
        run(network(width=16), data, tmp_path / "run", resume=True)
