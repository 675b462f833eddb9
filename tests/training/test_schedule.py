"""Learning rate, weight decay groups and the moving average."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from resight.models import with_channels_last
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


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("dims", [2, 3])
def test_filters_in_channels_last_order_learn_alike_and_keep_their_order(kind: str, dims: int) -> None:
    torch.manual_seed(0)
    options = TrainingOptions(optimizer=kind, learning_rate=0.1, weight_decay=0.1)
    layers = nn.Sequential((nn.Conv2d, nn.Conv3d)[dims - 2](4, 6, 3), nn.Flatten(), nn.LazyLinear(2))
    images = torch.randn(5, 4, *[5] * dims)
    layers(images)
    plain, ordered = layers, with_channels_last(copy.deepcopy(layers))
    strides = [parameter.stride() for parameter in ordered.parameters()]
    assert strides != [parameter.stride() for parameter in plain.parameters()]
    for network in (plain, ordered):
        optimizer = build_optimizer(network, options)
        for _ in range(3):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert parameter.grad.shape == parameter.shape
            remembered = [value for value in optimizer.state[parameter].values() if value.ndim]
            assert remembered
            assert all(value.shape == parameter.shape for value in remembered)
    assert [parameter.stride() for parameter in ordered.parameters()] == strides
    for one, other in zip(plain.parameters(), ordered.parameters(), strict=True):
        torch.testing.assert_close(other, one)


def test_a_failing_step_leaves_the_filters_as_they_were() -> None:
    network = with_channels_last(nn.Conv2d(4, 6, 3))
    optimizer = build_optimizer(network, TrainingOptions())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.param_groups[0]["lr"] = "much"
    with pytest.raises((TypeError, RuntimeError)):
        optimizer.step()
    assert network.weight.shape == (6, 4, 3, 3)


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
