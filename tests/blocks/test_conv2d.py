"""Narrow networks learn in the order channels last, where PyTorch's own gradient ends the process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from resight.blocks.conv2d import Conv2d

_LEARNS = """
import torch
from resight.blocks.conv2d import Conv2d

filters = Conv2d({channels}, 16, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
for _ in range(4):
    images = torch.randn(32, {channels}, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
    filters(images).sum().backward()
print("learned")
"""


@pytest.mark.parametrize("channels", [3, 8])
def test_narrow_maps_are_stepped_over_without_harm(channels: int) -> None:
    """In a process of its own, because what it guards against is the end of the process."""
    done = subprocess.run(
        [sys.executable, "-c", _LEARNS.format(channels=channels)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "learned"), done.stderr


@pytest.mark.parametrize("stride", [(2, 2), (1, 2)])
def test_answers_and_gradients_are_those_of_pytorch(stride: tuple[int, int]) -> None:
    ours, theirs = Conv2d(8, 12, 1, stride=stride), nn.Conv2d(8, 12, 1, stride=stride)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 8, 7, 9, requires_grad=True)
    found, expected = ours(images), theirs(images)
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(answer.square().sum(), [images, *net.parameters()])
        for answer, net in ((found, ours), (expected, theirs))
    ]
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))
