"""Residual units (He et al. 2016, figure 5), with the parameter names that torchvision gave them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from resight.blocks.acs import ACSConv
from resight.blocks.base import AVERAGE_POOL, CONV, Norm, NormLayer, build_attention, build_norm, over_space
from resight.blocks.drop_path import DropPath
from resight.blocks.gate import Gate


@dataclass(frozen=True)
class UnitStyle:
    """What all units of one network have in common.

    Attributes:
        dims: spatial dimensions, 2 or 3.
        norm: kind of normalisation.
        shortcut: `"projection"` (1x1 convolution where the shape changes, option B of the paper), `"average"` (2x2 mean
            before that convolution, the D network of He et al. 2019, figure 2), `"pad"` (strided identity with zero
            channels, option A) or `"none"` (a plain network).
        stride_in: which convolution of a bottleneck carries the stride: `"3x3"` (v1.5) or `"1x1"` (the paper, v1).
        attention: name of the attention layer at the end of the branch, or `"none"`.
        inplace: whether ReLUs overwrite their input.
        acs: whether volumes are seen through 2D filters in three planes instead of 3D filters.
        gated: whether a gate decides, image by image, that the branch is left out.
    """

    dims: int = 2
    norm: Norm = "batch"
    shortcut: Literal["projection", "average", "pad", "none"] = "projection"
    stride_in: Literal["3x3", "1x1"] = "3x3"
    attention: str = "none"
    inplace: bool = False
    acs: bool = False
    gated: bool = False

    @property
    def conv(self) -> Callable[..., nn.Module]:
        """The layer that convolves."""
        return ACSConv if self.acs else CONV[self.dims]


class ResidualUnit(nn.Module, ABC):
    """Shortcut plus branch, then ReLU; subclasses build and run the branch.

    Args:
        in_channels: channels of the incoming map.
        width: channels inside the branch; it ends with `width * expansion`.
        stride: step of the unit in space.
        drop_path: share of samples whose branch is left out in training.
        style: what all units have in common.
    """

    expansion: ClassVar[int]

    def __init__(self, in_channels: int, width: int, stride: int, drop_path: float, style: UnitStyle) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self._build_branch(in_channels, width, stride, style)
        self.relu = nn.ReLU(inplace=style.inplace)
        self.attention = build_attention(style.attention, out_channels, style.dims)
        self.drop_path = DropPath(drop_path)
        self.gate = Gate(in_channels, style.dims) if style.gated else None
        self.plain = style.shortcut == "none"
        self.downsample: nn.Module | None = None
        if not self.plain and (stride != 1 or in_channels != out_channels):
            self.downsample = _shortcut(in_channels, out_channels, stride, style)

    @abstractmethod
    def _build_branch(self, in_channels: int, width: int, stride: int, style: UnitStyle) -> None: ...

    @abstractmethod
    def branch(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """The residual function."""

    @property
    @abstractmethod
    def last_norm(self) -> NormLayer:
        """The normalisation that ends the branch."""

    def forward(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """The unit's output map."""
        if self.gate is not None and not self.training:
            return self.relu(self._where_open(self.gate, images))
        branch = self._work(images)
        if self.gate is not None:
            branch = branch * over_space(self.gate(images), branch)
        return self.relu(branch if self.plain else branch + self._shortcut(images))

    def _work(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        return self.drop_path(self.attention(self.branch(images)))

    def _shortcut(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        return images if self.downsample is None else self.downsample(images)

    def _where_open(self, gate: Gate, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """Shortcut plus branch, the branch being computed for the images alone whose gate is open."""
        shortcut, is_open = self._shortcut(images), gate(images)
        if torch.compiler.is_compiling():
            # a graph has no rows to leave out: all are computed, the answers are the same
            branch = self._work(images)
            return shortcut + branch * over_space(is_open, branch)
        rows = is_open.nonzero().squeeze(1)
        if len(rows) == 0:
            return shortcut
        if len(rows) == len(images):
            return shortcut + self._work(images)
        return shortcut.index_add(0, rows, self._work(images[rows]).to(shortcut.dtype))


class BasicUnit(ResidualUnit):
    """Two 3x3 convolutions."""

    expansion = 1

    def _build_branch(self, in_channels: int, width: int, stride: int, style: UnitStyle) -> None:
        conv = style.conv
        self.conv1 = conv(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = build_norm(style.norm, width, style.dims)
        self.conv2 = conv(width, width, 3, padding=1, bias=False)
        self.bn2 = build_norm(style.norm, width, style.dims)

    def branch(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """The residual function."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images)))))

    @property
    def last_norm(self) -> NormLayer:
        """The normalisation that ends the branch."""
        return self.bn2


class BottleneckUnit(ResidualUnit):
    """1x1, 3x3 and 1x1 convolutions; the last one has four times the channels."""

    expansion = 4

    def _build_branch(self, in_channels: int, width: int, stride: int, style: UnitStyle) -> None:
        conv, dims = style.conv, style.dims
        first, second = (stride, 1) if style.stride_in == "1x1" else (1, stride)
        self.conv1 = conv(in_channels, width, 1, stride=first, bias=False)
        self.bn1 = build_norm(style.norm, width, dims)
        self.conv2 = conv(width, width, 3, stride=second, padding=1, bias=False)
        self.bn2 = build_norm(style.norm, width, dims)
        self.conv3 = conv(width, width * self.expansion, 1, bias=False)
        self.bn3 = build_norm(style.norm, width * self.expansion, dims)

    def branch(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """The residual function."""
        inner = self.relu(self.bn1(self.conv1(images)))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(inner)))))

    @property
    def last_norm(self) -> NormLayer:
        """The normalisation that ends the branch."""
        return self.bn3


class PadShortcut(nn.Module):
    """Every `stride`-th pixel, and channels of zeros behind the others."""

    def __init__(self, new_channels: int, stride: int, dims: int) -> None:
        super().__init__()
        self.new_channels, self.stride, self.dims = new_channels, stride, dims

    def forward(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """The shortcut in the shape of the branch."""
        strided = images[(..., *[slice(None, None, self.stride)] * self.dims)]
        return functional.pad(strided, [0, 0] * self.dims + [0, self.new_channels])


def _shortcut(in_channels: int, out_channels: int, stride: int, style: UnitStyle) -> nn.Module:
    """The shortcut of a unit that changes the shape of its map; places of the layers are those of published weights."""
    conv, norm = style.conv, build_norm(style.norm, out_channels, style.dims)
    if style.shortcut == "pad":
        return PadShortcut(out_channels - in_channels, stride, style.dims)
    if style.shortcut == "projection":
        return nn.Sequential(conv(in_channels, out_channels, 1, stride=stride, bias=False), norm)
    pool = AVERAGE_POOL[style.dims](2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(nn.Identity() if stride == 1 else pool, conv(in_channels, out_channels, 1, bias=False), norm)
