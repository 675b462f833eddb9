"""Every registered objective keeps the promises of `resight.training.base`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.models import ModelOptions, build_classifier
from resight.training import LOSSES, OBJECTIVES, Objective
from resight.training.data import Batch, TrainingData

_KILL_ME = Path(__file__).parents[1] / "training" / "kill_me.py"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    spec = importlib.util.spec_from_file_location("kill_me", _KILL_ME)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return replace(module.tiny_data(16, 0), groups=np.arange(16) % 2)


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 20, "width": 4}
    return build_classifier(ModelOptions(backbone=backbone), labels=("a",), channels=1, dims=2)


@pytest.fixture(params=OBJECTIVES.names())
def objective(request: pytest.FixtureRequest, model: torch.nn.Module, data: TrainingData) -> Objective:
    loss = LOSSES.build("binary", task="binary", positive_weight=None)
    return OBJECTIVES.build(request.param, loss=loss, model=model, train=data)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(1)
    images = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    mask = torch.tensor([[True]] * 5 + [[False]])
    targets = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0], [0.0]])
    return Batch(images, targets, mask, torch.arange(6), torch.tensor([0, 0, 1, 1, 0, 1]))


def test_the_value_is_a_finite_scalar_that_teaches_the_model(
    objective: Objective, model: torch.nn.Module, batch: Batch
) -> None:
    value = objective(model, batch)
    assert value.shape == ()
    assert torch.isfinite(value)
    value.backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_unknown_targets_do_not_count(objective: Objective, model: torch.nn.Module, batch: Batch) -> None:
    state = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    model.eval()
    value = objective(model, batch)
    batch.targets[5] = 1.0
    objective.load_state_dict(state)
    torch.testing.assert_close(objective(model, batch), value)


def test_its_state_travels(objective: Objective, model: torch.nn.Module, batch: Batch) -> None:
    model.eval()
    objective(model, batch)
    state = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    value = objective(model, batch)
    objective.load_state_dict(state)
    torch.testing.assert_close(objective(model, batch), value)
