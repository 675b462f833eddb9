"""3D convolution that learns in bf16 on small and on flat maps too.

PyTorch's bf16 gradient of the filters on x86 processors (2.13, oneDNN) reads memory that was never written where the
map is flatter than the filter, for example 2 slices under 3x3x3: NaN, or numbers out of nowhere. The forward pass and
the gradient of the map are right. The same sums are therefore taken another way: as one matrix product where the map
has few places, where oneDNN is slow as well, and elsewhere with slices of zeros behind the map, whose answers are
dropped.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
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
    under = functional.pad(images, [pad for pad in reversed(padding) for _ in range(2)])
    for axis, (taps, step) in enumerate(zip(weight.shape[2:], stride, strict=True), start=2):
        under = under.unfold(axis, taps, step)
    under = under.movedim(1, -1)  # (B D2 H2 W2 K1 K2 K3 C)
    places = under.shape[:4]
    answers = functional.linear(under.flatten(4), weight.movedim(1, -1).flatten(1), bias)
    return answers.reshape(*places, -1).movedim(-1, 1)


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` through `convolve`; the same parameters under the same names."""

    def forward(self, input: Float[Tensor, "B C D H W"]) -> Float[Tensor, "B C2 D2 H2 W2"]:  # noqa: A002 (the name in torch)
        """The map of all filters."""
        assert not isinstance(self.padding, str)
        return convolve(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
