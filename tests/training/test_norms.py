"""Statistics of batch normalisation are those of the images, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from resight.errors import TrainingError
from resight.models import Classifier, ModelOptions, build_classifier
from resight.preprocess import Recipe, Store
from resight.training import TrainingOptions, fit
from resight.training.data import TrainingData
from resight.training.loop import _Run
from resight.training.norms import adapt_norms, needs_two_images

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


def plain(count: int, side_px: int) -> TrainingData:
    images = np.random.default_rng(count).integers(0, 256, (count, 1, side_px, side_px), dtype=np.uint8)
    targets = (np.arange(count) % 2).astype(float)[:, None]
    return TrainingData(list(images), np.arange(count), targets, ~np.isnan(targets), tuple(map(str, range(count))))


@pytest.mark.parametrize(
    ("side_px", "norm", "single"), [(32, "batch", True), (64, "batch", False), (32, "group", False)]
)
def test_only_a_last_map_of_one_value_needs_two_images(side_px: int, norm: str, single: bool) -> None:
    model = network(norm).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert needs_two_images(model, torch.zeros(3, 1, side_px, side_px, dtype=torch.uint8)) is single
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model(torch.zeros(2, 1, side_px, side_px, dtype=torch.uint8))  # no hook stays behind


@pytest.mark.parametrize(("side_px", "steps"), [(32, [4, 5]), (64, [4, 4, 1])])
def test_a_last_image_that_cannot_be_normalised_alone_joins_the_batch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side_px: int, steps: list[int]
) -> None:
    seen: list[int] = []
    step = _Run._step
    monkeypatch.setattr(_Run, "_step", lambda run, batch: seen.append(len(batch.images)) or step(run, batch))
    options = TrainingOptions(epochs=1, batch_size=4, precision="fp32", threads=1)
    told: list[tuple[int, int]] = []
    fit(
        network(), plain(9, side_px), plain(4, side_px), options, task="binary", folder=tmp_path,
        progress=lambda _, done, total, __: told.append((done, total)),
    )  # fmt: skip
    assert seen == steps
    assert told[-1] == (len(steps), len(steps))


@pytest.mark.parametrize(("count", "options"), [(1, {}), (4, {"accumulate": 4})])
def test_a_batch_that_cannot_be_normalised_is_one_clear_error(
    tmp_path: Path, count: int, options: dict[str, int]
) -> None:
    wanted = TrainingOptions(epochs=1, batch_size=4, precision="fp32", threads=1, **options)
    with pytest.raises(TrainingError, match=r"a batch of one image, .* cannot be normalised") as told:
        fit(network(), plain(count, 32), plain(4, 32), wanted, task="binary", folder=tmp_path)
    assert told.value.where == "training.batch_size"
