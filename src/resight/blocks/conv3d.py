"""3D convolution that learns in bf16 on flat maps too.

PyTorch's bf16 gradient of the filters on x86 processors (2.13, oneDNN) reads memory that was never written where the
map is flatter than the filter, for example 2 slices under 3x3x3: NaN, or numbers out of nowhere. The forward pass and
the gradient of the map are right.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Sides = tuple[int, ...] | list[int]


def convolve(
    images: Float[Tensor, "B C D H W"],
    weight: Float[Tensor, "C2 C3 K1 K2 K3"],
    bias: Float[Tensor, " C2"] | None,
    stride: Sides,
    padding: Sides,
    dilation: Sides = (1, 1, 1),
    groups: int = 1,
) -> Float[Tensor, "B C2 D2 H2 W2"]:
    """As `torch.nn.functional.conv3d`; maps that are flatter than the filter are computed in float32 on processors."""
    lowered = images.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not lowered or images.shape[2] >= weight.shape[2]:
        return functional.conv3d(images, weight, bias, stride, padding, dilation, groups)
    with torch.autocast("cpu", enabled=False):
        whole = functional.conv3d(images.float(), weight, bias, stride, padding, dilation, groups)
    return whole.to(torch.get_autocast_dtype("cpu"))


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` through `convolve`; the same parameters under the same names."""

    def forward(self, input: Float[Tensor, "B C D H W"]) -> Float[Tensor, "B C2 D2 H2 W2"]:  # noqa: A002 (the name in torch)
        """The map of all filters."""
        assert not isinstance(self.padding, str)
        return convolve(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
