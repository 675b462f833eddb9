"""Learning rate, weight decay groups and the moving average."""

import numpy as np
import torch
from torch import nn

from resight.training.options import TrainingOptions
from resight.training.schedule import AveragedWeights, build_optimizer, learning_rate


def test_warm_up_rises_to_the_peak_and_the_cosine_falls_to_zero() -> None:
    options = TrainingOptions(epochs=10, learning_rate=0.1, warmup_epochs=2)
    rates = np.array([learning_rate(options, step, 10) for step in range(100)])
    assert rates.argmax() == 20
    assert np.isclose(rates.max(), 0.1)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[-1] < 1e-4


def test_a_constant_schedule_stays_at_the_peak() -> None:
    options = TrainingOptions(schedule="constant", learning_rate=0.1, warmup_epochs=0)
    assert {learning_rate(options, step, 10) for step in range(100)} == {0.1}


def test_a_single_epoch_still_reaches_the_peak() -> None:
    options = TrainingOptions(epochs=1, learning_rate=0.1, warmup_epochs=5)
    assert max(learning_rate(options, step, 100) for step in range(100)) > 0.09


def test_norms_and_biases_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, spared = build_optimizer(model, TrainingOptions(weight_decay=0.1)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert decayed["weight_decay"] == 0.1
    assert all(p.ndim == 1 for p in spared["params"])
    assert spared["weight_decay"] == 0


def test_the_average_follows_and_smooths() -> None:
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    average = AveragedWeights(model, decay=0.9)
    values = []
    for step in range(200):
        with torch.no_grad():
            model.weight.fill_(5.0 + (-1) ** step)
        average.update(model)
        values.append(average.tensors["weight"].item())
    assert abs(np.mean(values[-50:]) - 5.0) < 0.05
    assert np.std(values[-50:]) < 0.1
