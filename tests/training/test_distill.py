"""A student learns what a teacher sees, without labels, and goes on after a break as if there had been none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from resight.errors import TrainingError
from resight.models import Classifier, ModelOptions, build_classifier, view
from resight.preprocess import Augmentation, Recipe, Store
from resight.training import TrainingOptions
from resight.training.data import TrainingData
from resight.training.distill import Distillation, Features, distil, view_features

COUNT, SIZE_PX = 48, 32
OPTIONS = TrainingOptions(epochs=6, batch_size=8, learning_rate=3e-3, ema_decay=0.9, precision="fp32", threads=1)


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    backbone = {"name": "resnet", "depth": 10, "width": 8}
    return build_classifier(ModelOptions(backbone=backbone), labels=("a", "b"), channels=3, dims=2)


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> TrainingData:
    """Pictures of one colour with a bright left or right side; no label is known."""
    paths = []
    for number in range(COUNT):
        picture = np.full((SIZE_PX, SIZE_PX, 3), rng.integers(40, 160, 3), np.uint8)
        picture[:, slice(0, 12) if number % 2 else slice(20, None)] += 80
        paths.append(tmp_path / f"{number:02d}.png")
        cv2.imwrite(str(paths[-1]), picture)
    store = Store.build(paths, Recipe(size_px=(SIZE_PX, SIZE_PX), channels=3), tmp_path / "store", workers=1)
    unknown = np.full((COUNT, 2), np.nan)
    return TrainingData(store, np.arange(COUNT), unknown, ~np.isnan(unknown), tuple(p.name for p in paths))


def described(data: TrainingData, n_views: int = 4) -> Features:
    """A teacher that sees the three colours and which side is brighter; and a fourth feature that never changes."""
    images = torch.from_numpy(np.array(data.store.images)).float() / 255
    each = []
    for number in range(n_views):
        seen = view(images, number)
        side = seen[..., :16].mean((1, 2, 3)) - seen[..., 16:].mean((1, 2, 3))
        each.append(torch.cat([seen.mean((2, 3)), side[:, None], torch.ones(len(seen), 1)], dim=1))
    return torch.stack(each, dim=1).numpy()


def run(data: TrainingData, folder: Path, options: TrainingOptions, *, resume: bool = False) -> Distillation:
    return distil(network(), described(data), data, options, folder=folder, resume=resume)


def test_the_student_explains_what_the_teacher_sees(data: TrainingData, tmp_path: Path) -> None:
    student = network()
    head = student.head.state_dict()["fc.weight"].clone()
    options = OPTIONS.model_copy(update={"epochs": 10})
    found = distil(student, described(data), data, options, folder=tmp_path / "run")
    assert found.epoch == 10 == len(found.unexplained)
    assert found.unexplained[0] > 0.6
    assert found.unexplained[-1] < 0.4
    assert torch.equal(student.head.state_dict()["fc.weight"], head)


def test_a_break_changes_nothing(data: TrainingData, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"epochs": 3, "schedule": "constant", "warmup_epochs": 0.0})
    whole, parts = network(), network()
    distil(whole, described(data), data, options, folder=tmp_path / "whole")
    run(data, tmp_path / "parts", options.model_copy(update={"epochs": 1}))
    distil(parts, described(data), data, options, folder=tmp_path / "parts", resume=True)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_finished_run_is_only_read(data: TrainingData, tmp_path: Path) -> None:
    first = run(data, tmp_path / "run", OPTIONS.model_copy(update={"epochs": 1}))
    again = run(data, tmp_path / "run", OPTIONS.model_copy(update={"epochs": 1}), resume=True)
    assert again == first


def test_features_of_other_samples_and_checkpoints_of_other_networks_are_refused(
    data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=f"features of 3 samples; expected {COUNT} samples"):
        distil(network(), described(data)[:3], data, OPTIONS, folder=tmp_path)
    run(data, tmp_path / "run", OPTIONS.model_copy(update={"epochs": 1}))
    wider = build_classifier(
        ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 16}), labels=("a",), channels=3, dims=2
    )
    with pytest.raises(TrainingError, match="another network"):
        distil(wider, described(data), data, OPTIONS, folder=tmp_path / "run", resume=True)


def test_features_of_views_are_those_of_the_mirrored_images(data: TrainingData) -> None:
    model = network().eval()
    found = view_features(model, data, n_views=3, batch_size=7, device=torch.device("cpu"), precision="fp32")
    assert found.shape == (COUNT, 3, model.backbone.feature_dim)
    images = torch.from_numpy(np.array(data.store.images))
    with torch.no_grad():
        expected = model.features(view(images, 2)).numpy()
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-4, atol=1e-5)


def test_augmentation_is_drawn_from_seed_and_epoch(data: TrainingData, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"epochs": 1})
    results = [
        distil(
            network(), described(data), data, options, folder=tmp_path / str(k), augmentation=Augmentation(gain=0.3)
        ).unexplained
        for k in range(2)
    ]
    assert results[0] == results[1]
    assert results[0] != run(data, tmp_path / "plain", options).unexplained
