"""Volumes seen through 2D filters in three planes (Yang et al. 2021, "Reinventing 2D convolutions for 3D images")."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from resight.blocks.conv3d import convolve


class ACSConv(nn.Module):
    """Axial, coronal and sagittal convolution: each third of the output channels lies in a plane of its own.

    The filters are those of a convolution over images, `(out, in, k, k)`, so that its weights fit as they are; each
    output channel costs as much as one of an image, not k times as much as with 3D filters.

    Args:
        in_channels: channels of the volume.
        out_channels: channels of the result; what three does not divide goes to the axial plane.
        kernel_size: side k of the filters.
        stride: step along each axis.
        padding: zeros around the volume, in the plane of the filter.
        bias: a constant for each channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int | tuple[int, ...] = 1,
        padding: int = 0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        third = out_channels // 3
        self.planes = (out_channels - 2 * third, third, third)
        self.stride = stride if isinstance(stride, tuple) else (stride,) * 3
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as torch's own convolutions start
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, images: Float[Tensor, "B C D H W"]) -> Float[Tensor, "B C2 D2 H2 W2"]:
        """The map of all three planes."""
        if self.weight.shape[-1] == 1:  # the planes are no different
            return convolve(images, self.weight[..., None], self.bias, self.stride, (0, 0, 0))
        biases = (None,) * 3 if self.bias is None else self.bias.split(self.planes)
        maps = []
        for axis, (weight, bias) in enumerate(zip(self.weight.split(self.planes), biases, strict=True)):
            if len(weight):  # a map of two channels has no sagittal one
                padding = [0 if axis == other else self.padding for other in range(3)]
                maps.append(convolve(images, weight.unsqueeze(2 + axis), bias, self.stride, padding))
        return torch.cat(maps, dim=1)
