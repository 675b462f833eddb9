"""Gates leave units out: by image, for real, with a gradient in training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resight.blocks import BasicUnit, Gate, UnitStyle, watching_gates


def unit_that_likes_bright_images(stride: int = 1) -> BasicUnit:
    """Runs for images of mean above 0.5 and for no others."""
    torch.manual_seed(0)
    unit = BasicUnit(4, 4, stride, 0.0, UnitStyle(gated=True)).eval()
    assert isinstance(unit.gate, Gate)
    first, last = unit.gate.net[0], unit.gate.net[2]
    with torch.no_grad():
        for parameter in unit.gate.parameters():
            parameter.zero_()
        first.weight[0] = 10.0
        last.weight[0, 0] = 1.0
        last.bias[0] = -20.0
    return unit


def calls_of(unit: BasicUnit) -> list[int]:
    """Sizes of the batches that the branch was given, growing."""
    sizes: list[int] = []
    unit.conv1.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    return sizes


IMAGES = torch.rand(4, 4, 6, 6, generator=torch.Generator().manual_seed(1)) * 0.2
IMAGES[1::2] += 0.8


@pytest.mark.parametrize("stride", [1, 2])
def test_the_branch_is_computed_for_open_images_alone(stride: int) -> None:
    unit = unit_that_likes_bright_images(stride)
    sizes = calls_of(unit)
    together = unit(IMAGES)
    assert sizes == [2]
    alone = torch.cat([unit(image[None]) for image in IMAGES])
    assert sizes == [2, 1, 1]
    torch.testing.assert_close(together, alone)
    unit.gate = None
    with_branch = unit(IMAGES)
    torch.testing.assert_close(together[1::2], with_branch[1::2])
    shortcut = IMAGES if stride == 1 else unit.downsample(IMAGES)
    torch.testing.assert_close(together[::2], shortcut[::2].relu())


def test_a_threshold_of_0_opens_every_gate_and_an_end_of_the_watch_is_an_end() -> None:
    unit = unit_that_likes_bright_images()
    sizes = calls_of(unit)
    with watching_gates(threshold=0.0) as probabilities:
        unit(IMAGES)
    unit(IMAGES)
    assert sizes == [4, 2]
    assert [len(p) for p in probabilities] == [4]
    assert ((probabilities[0] > 0.5) == torch.tensor([False, True, False, True])).all()


def test_the_gradient_passes_straight_through_closed_and_open_gates() -> None:
    torch.manual_seed(0)
    gate = Gate(3, 2).train()
    factors: Tensor = gate(torch.rand(64, 3, 4, 4))
    assert set(factors.detach().round(decimals=4).tolist()) == {0.0, 1.0}
    factors.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gate.parameters())


def test_gates_are_open_as_often_as_their_probability_says() -> None:
    torch.manual_seed(0)
    gate = Gate(3, 2).train()
    with watching_gates() as probabilities, torch.no_grad():
        factors = gate(torch.zeros(20_000, 3, 1, 1))
    assert float(factors.mean()) == pytest.approx(float(probabilities[0][0]), abs=0.01)
