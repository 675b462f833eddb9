"""2D convolution that narrow networks can learn through.

PyTorch's float32 gradients on x86 processors (2.13, oneDNN) write behind the map where filters of one pixel step over
8 channels or fewer in the order channels last: the process ends, or its memory is not what it was. The places that such
a filter skips are therefore left out before it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_NARROW = 16
"""Channels from which on nothing of the kind was seen, nor at 9 to 15; a map this narrow costs nothing to copy."""


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, the same parameters under the same names and the same answers."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:  # noqa: A002 (the name in torch)
        """The map of all filters."""
        steps = self.kernel_size == (1, 1) and max(self.stride) > 1 and self.padding == (0, 0)
        if not (steps and self.in_channels < _NARROW and torch.is_grad_enabled()):
            return super().forward(input)
        down, across = self.stride
        return functional.conv2d(input[:, :, ::down, ::across], self.weight, self.bias, groups=self.groups)
