"""3D convolution that learns in bf16 on small and on flat maps too.

PyTorch's bf16 gradient of the filters on x86 processors (2.13, oneDNN) reads memory that was never written where the
map is flatter than the filter, for example 2 slices under 3x3x3: NaN, or numbers out of nowhere. The forward pass and
the gradient of the map are right. The same sums are therefore taken another way: as one matrix product where the map
has few places, where oneDNN is slow as well, and elsewhere with slices of zeros behind the map, whose answers are
dropped.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Sides = tuple[int, ...] | list[int]
_FEW_PLACES = 64
"""Of all maps of a batch: from about 100 on, writing out what lies under the filter costs more than it saves."""


def convolve(
    images: Float[Tensor, "B C D H W"],
    weight: Float[Tensor, "C2 C3 K1 K2 K3"],
    bias: Float[Tensor, " C2"] | None,
    stride: Sides,
    padding: Sides,
    dilation: Sides = (1, 1, 1),
    groups: int = 1,
) -> Float[Tensor, "B C2 D2 H2 W2"]:
    """As `torch.nn.functional.conv3d`, with gradients in bf16 that are right on flat maps too."""
    lowered = images.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not lowered:
        return functional.conv3d(images, weight, bias, stride, padding, dilation, groups)
    sizes = [
        (side + 2 * pad - gap * (taps - 1) - 1) // step + 1
        for side, taps, step, pad, gap in zip(
            images.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    if groups == 1 and max(dilation) == 1 and len(images) * math.prod(sizes) <= _FEW_PLACES:
        return _as_product(images, weight, bias, stride, padding)
    behind = weight.shape[2] - images.shape[2]
    if behind <= 0:
        return functional.conv3d(images, weight, bias, stride, padding, dilation, groups)
    deeper = functional.pad(images, (0, 0, 0, 0, 0, behind))
    whole = functional.conv3d(deeper, weight, bias, stride, padding, dilation, groups)
    return whole[:, :, : sizes[0]].contiguous(memory_format=torch.channels_last_3d)


def _as_product(
    images: Float[Tensor, "B C D H W"],
    weight: Float[Tensor, "C2 C K1 K2 K3"],
    bias: Float[Tensor, " C2"] | None,
    stride: Sides,
    padding: Sides,
) -> Float[Tensor, "B C2 D2 H2 W2"]:
    """What lies under the filter at every place, times the filters; channels last, as their weights are kept."""
    padded = functional.pad(images, [pad for pad in reversed(padding) for _ in range(2)]).movedim(1, -1)
    under: Tensor = _Under.apply(padded, tuple(weight.shape[2:]), tuple(stride))  # pyright: ignore[reportAssignmentType]
    answers = functional.linear(under.flatten(4), weight.movedim(1, -1).flatten(1), bias)
    return answers.movedim(-1, 1)


class _Under(torch.autograd.Function):
    """What lies under a filter at every place; the gradient is one sum for each tap, in float32."""

    @staticmethod
    def forward(
        ctx: Any, images: Float[Tensor, "B D H W C"], taps: tuple[int, ...], stride: tuple[int, ...]
    ) -> Float[Tensor, "B D2 H2 W2 K1 K2 K3 C"]:
        ctx.shape, ctx.taps, ctx.stride = images.shape, taps, stride
        under = images
        for axis, (side, step) in enumerate(zip(taps, stride, strict=True), start=1):
            under = under.unfold(axis, side, step)
        return under.movedim(4, -1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (there is one output)
        ctx: Any, gradient: Float[Tensor, "B D2 H2 W2 K1 K2 K3 C"]
    ) -> tuple[Tensor, None, None]:
        images = gradient.new_zeros(ctx.shape, dtype=torch.float32)
        places = gradient.shape[1:4]
        for tap in product(*map(range, ctx.taps)):
            reached = (
                slice(first, first + (count - 1) * step + 1, step)
                for first, count, step in zip(tap, places, ctx.stride, strict=True)
            )
            images[:, *reached] += gradient[:, :, :, :, *tap]
        return images.to(gradient.dtype), None, None


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` through `convolve`; the same parameters under the same names."""

    def forward(self, input: Float[Tensor, "B C D H W"]) -> Float[Tensor, "B C2 D2 H2 W2"]:  # noqa: A002 (the name in torch)
        """The map of all filters."""
        assert not isinstance(self.padding, str)
        return convolve(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
