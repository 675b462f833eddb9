"""Objectives that mind groups: their weights by hand, and a planted gap that they close."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.errors import SettingsError
from resight.models import Classifier, ModelOptions, build_classifier
from resight.training import LOSSES, OBJECTIVES, TrainingOptions, fit, predict_logits
from resight.training.cells import cells_of
from resight.training.data import Batch, TrainingData
from resight.training.imbalance import group_sampling_weights


def data(groups: np.ndarray, targets: np.ndarray, images: np.ndarray | None = None) -> TrainingData:
    count = len(targets)
    pictures = np.zeros((count, 1, 8, 8), np.uint8) if images is None else images
    known = ~np.isnan(targets)
    return TrainingData(list(pictures), np.arange(count), targets, known, tuple(map(str, range(count))), groups)


def loss(name: str = "binary", task: str = "binary") -> torch.nn.Module:
    return LOSSES.build(name, task=task, positive_weight=None)


class Logits(torch.nn.Module):
    """Gives the logits it was made with."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(images)]


UNEVEN = data(np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.array([[1.0], [1], [1], [1], [0], [0], [0], [0]]))


def test_reweighing_makes_group_and_label_independent() -> None:
    weights = OBJECTIVES.build("group_reweighted", loss=loss(), model=Logits(torch.zeros(8, 1)), train=UNEVEN).weights
    # Kamiran & Calders by hand: P(g) P(y) / P(g, y); the empty cell has no entry to weigh
    hand = np.array([6 * 4 / 8 / 2, 6 * 4 / 8 / 4, 2 * 4 / 8 / 2, 0.0])
    counts = np.array([2, 4, 2, 0])
    np.testing.assert_allclose(weights[:3], (hand / (hand @ counts / 8))[:3], rtol=1e-6)


def test_equal_weights_make_every_cell_count_alike() -> None:
    options = {"target": "equal"}
    built = OBJECTIVES.build("group_reweighted", options, loss=loss(), model=Logits(torch.zeros(8, 1)), train=UNEVEN)
    mass = built.weights.numpy()[:3] * [2, 4, 2]
    np.testing.assert_allclose(mass, 8 / 3, rtol=1e-6)


def test_the_reweighted_value_is_the_weighted_mean() -> None:
    logits = torch.linspace(-2, 2, 8)[:, None]
    model = Logits(logits)
    built = OBJECTIVES.build("group_reweighted", loss=loss(), model=model, train=UNEVEN)
    targets = torch.from_numpy(UNEVEN.targets).float()
    groups = torch.from_numpy(UNEVEN.groups)
    batch = Batch(torch.zeros(8, 1, 8, 8), targets, torch.ones(8, 1, dtype=torch.bool), torch.arange(8), groups)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")[:, 0]
    weight = built.weights[groups * 2 + targets[:, 0].long()]
    torch.testing.assert_close(built(model, batch), (weight * each).mean())


def test_group_dro_moves_weight_to_the_worst_group() -> None:
    model = Logits(torch.tensor([[3.0]] * 6 + [[3.0]] * 2))  # right for the first group's positives, wrong elsewhere
    built = OBJECTIVES.build("group_dro", {"step_size": 0.5}, loss=loss(), model=model, train=UNEVEN)
    groups = torch.from_numpy(UNEVEN.groups)
    targets = torch.from_numpy(UNEVEN.targets).float()
    batch = Batch(torch.zeros(8, 1, 8, 8), targets, torch.ones(8, 1, dtype=torch.bool), torch.arange(8), groups)
    before = built.weights.clone()
    wrong, right = (float(torch.nn.functional.softplus(torch.tensor(x))) for x in (3.0, -3.0))
    value = built(model, batch)
    q = before * torch.exp(0.5 * torch.tensor([wrong, right, wrong, 0.0]))
    q = q / q.sum()
    torch.testing.assert_close(built.weights, q)
    torch.testing.assert_close(value.detach(), (q * torch.tensor([wrong, right, wrong, 0.0])).sum())


def test_cells_of_classes_are_group_and_class() -> None:
    classes = np.eye(3)[[0, 1, 2, 2]]
    train = data(np.array([0, 0, 1, 1]), classes)
    cells = cells_of(loss("categorical", "multiclass"), train, by_label=True)
    assert cells.of(torch.from_numpy(classes), torch.tensor([0, 0, 1, 1]))[:, 0].tolist() == [0, 1, 5, 5]


def test_resampling_makes_group_and_label_independent() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 2, 2000)
    targets = (rng.random((2000, 1)) < np.where(groups == 1, 0.1, 0.6)[:, None]).astype(float)
    weights = group_sampling_weights(targets, np.ones((2000, 1), bool), groups)
    share = [np.average(targets[groups == g, 0], weights=weights[groups == g]) for g in (0, 1)]
    assert share[0] == pytest.approx(share[1])
    assert np.average(groups, weights=weights) == pytest.approx(groups.mean())


@pytest.mark.parametrize("name", ["group_reweighted", "group_dro", "adversarial"])
def test_without_groups_the_settings_say_what_is_missing(name: str) -> None:
    model = build_classifier(ModelOptions(backbone={"name": "resnet", "depth": 10}), labels=("a",), channels=1, dims=2)
    train = replace(UNEVEN, groups=None)
    with pytest.raises(SettingsError, match=r"training\.group"):
        OBJECTIVES.build(name, loss=loss(), model=model, train=train)


def test_the_adversary_learns_and_the_features_unlearn() -> None:
    torch.manual_seed(0)
    model = build_classifier(
        ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4}), labels=("a",), channels=1, dims=2
    )
    built = OBJECTIVES.build("adversarial", {"ramp_steps": 0}, loss=loss(), model=model, train=UNEVEN)
    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8)
    mask = torch.zeros(8, 1, dtype=torch.bool)  # no label known: only the adversary speaks
    groups = torch.tensor([0, 1] * 4)
    built(model, Batch(images, torch.zeros(8, 1), mask, torch.arange(8), groups)).backward()
    model.eval()
    features = model.features(images).detach().requires_grad_()
    shown = torch.cat([features, torch.full((8, 1), 0.5)], dim=1)
    torch.nn.functional.cross_entropy(built.adversary(shown), groups).backward()
    assert built.adversary[0].weight.grad.abs().sum() > 0
    assert model.backbone.conv1.weight.grad.abs().sum() > 0
    # a step of the backbone against its gradient makes the adversary's loss larger, not smaller
    model.train()
    before = float(built(model, Batch(images, torch.zeros(8, 1), mask, torch.arange(8), groups)).detach())
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter -= 1e-3 * parameter.grad
    after = float(built(model, Batch(images, torch.zeros(8, 1), mask, torch.arange(8), groups)).detach())
    assert after > before


def shortcut(count: int, seed: int, agree: float) -> TrainingData:
    """A faint blob is the finding; a bright corner is the group, and goes along with the finding by `agree`."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    group = np.where(rng.random(count) < agree, y, 1 - y)
    images = rng.integers(60, 130, size=(count, 1, 16, 16)).astype(float)
    images[:, 0, 6:11, 6:11] += 22.0 * y[:, None, None]
    images[:, 0, :4, :4] += 90.0 * group[:, None, None]
    return data(group, y[:, None].astype(float), images.clip(0, 255).astype(np.uint8))


def sensitivity_gap(folder: Path, **training: object) -> float:
    """Sensitivity in the group where the finding was common less that where it was rare, on balanced images."""
    torch.manual_seed(0)
    model: Classifier = build_classifier(
        ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 8, "stem": "cifar"}),
        labels=("a",),
        channels=1,
        dims=2,
    )
    options = TrainingOptions(
        epochs=6, batch_size=64, learning_rate=3e-3, precision="fp32", threads=1, ema_decay=0.0, **training
    )
    fit(model, shortcut(900, 0, 0.95), shortcut(200, 1, 0.95), options, task="binary", folder=folder)
    test = shortcut(600, 2, 0.5)
    called = predict_logits(model, test, batch_size=200, device=torch.device("cpu"), precision="fp32")[:, 0] > 0
    ill = test.targets[:, 0] == 1
    return float(called[ill & (test.groups == 1)].mean() - called[ill & (test.groups == 0)].mean())


@pytest.mark.slow
def test_a_planted_gap_is_at_least_halved(tmp_path: Path) -> None:
    usual = sensitivity_gap(tmp_path / "erm")
    assert usual > 0.3
    assert sensitivity_gap(tmp_path / "reweighted", objective={"name": "group_reweighted"}) < usual / 2
    assert sensitivity_gap(tmp_path / "resampled", imbalance="group_sampler") < usual / 2
    dro = {"name": "group_dro", "options": {"step_size": 0.1}}
    assert sensitivity_gap(tmp_path / "dro", objective=dro) < usual / 2
    assert sensitivity_gap(tmp_path / "adversarial", objective={"name": "adversarial"}) < usual / 2
