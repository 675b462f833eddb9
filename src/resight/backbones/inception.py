"""Inception-v3 (Szegedy et al. 2016, table 1 and figures 5 to 8, 10), with torchvision's parameter names."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.base import BACKBONES, Backbone, StageMap, require_2d
from resight.settings import Options

_Kernel = int | tuple[int, int]


class InceptionOptions(Options):
    """Inception-v3: branches of small and factorised convolutions, for images from 75 pixels."""

    dropout: float = Field(default=0.5, ge=0, lt=1, description="share of features dropped in training")
    auxiliary_classes: int = Field(
        default=0, ge=0, description="logits of the side branch trained along; 0 leaves it out"
    )
    num_classes: int = Field(default=0, ge=0, description="own last layer `fc`; 0 for features")


class _Layer(NamedTuple):
    """One convolution of a branch; `halving` ones have stride 2 and no padding, all others keep the size."""

    suffix: str
    channels: int
    kernel: _Kernel = 1
    halving: bool = False


class _Branch(NamedTuple):
    """A chain of convolutions behind an optional pooling; the outputs of `fork` are stacked at its end."""

    name: str
    layers: tuple[_Layer, ...] = ()
    fork: tuple[_Layer, ...] = ()
    pooling: Literal["none", "mean", "halving max"] = "none"


def _grid_35(pool: int) -> tuple[_Branch, ...]:
    return (
        _Branch("branch1x1", (_Layer("", 64),)),
        _Branch("branch5x5", (_Layer("_1", 48), _Layer("_2", 64, 5))),
        _Branch("branch3x3dbl", (_Layer("_1", 64), _Layer("_2", 96, 3), _Layer("_3", 96, 3))),
        _Branch("branch_pool", (_Layer("", pool),), pooling="mean"),
    )


def _grid_17(inner: int) -> tuple[_Branch, ...]:
    flat, tall = (1, 7), (7, 1)
    double = (_Layer("_1", inner), _Layer("_2", inner, tall), _Layer("_3", inner, flat), _Layer("_4", inner, tall))
    return (
        _Branch("branch1x1", (_Layer("", 192),)),
        _Branch("branch7x7", (_Layer("_1", inner), _Layer("_2", inner, flat), _Layer("_3", 192, tall))),
        _Branch("branch7x7dbl", (*double, _Layer("_5", 192, flat))),
        _Branch("branch_pool", (_Layer("", 192),), pooling="mean"),
    )


_TO_17: Final = (
    _Branch("branch3x3", (_Layer("", 384, 3, halving=True),)),
    _Branch("branch3x3dbl", (_Layer("_1", 64), _Layer("_2", 96, 3), _Layer("_3", 96, 3, halving=True))),
    _Branch("branch_pool", pooling="halving max"),
)
_TO_8: Final = (
    _Branch("branch3x3", (_Layer("_1", 192), _Layer("_2", 320, 3, halving=True))),
    _Branch(
        "branch7x7x3",
        (_Layer("_1", 192), _Layer("_2", 192, (1, 7)), _Layer("_3", 192, (7, 1)), _Layer("_4", 192, 3, halving=True)),
    ),
    _Branch("branch_pool", pooling="halving max"),
)
_GRID_8: Final = (
    _Branch("branch1x1", (_Layer("", 320),)),
    _Branch("branch3x3", (_Layer("_1", 384),), (_Layer("_2a", 384, (1, 3)), _Layer("_2b", 384, (3, 1)))),
    _Branch(
        "branch3x3dbl",
        (_Layer("_1", 448), _Layer("_2", 384, 3)),
        (_Layer("_3a", 384, (1, 3)), _Layer("_3b", 384, (3, 1))),
    ),
    _Branch("branch_pool", (_Layer("", 192),), pooling="mean"),
)
_MIXED: Final[dict[str, tuple[_Branch, ...]]] = {
    "Mixed_5b": _grid_35(32),
    "Mixed_5c": _grid_35(64),
    "Mixed_5d": _grid_35(64),
    "Mixed_6a": _TO_17,
    "Mixed_6b": _grid_17(128),
    "Mixed_6c": _grid_17(160),
    "Mixed_6d": _grid_17(160),
    "Mixed_6e": _grid_17(192),
    "Mixed_7a": _TO_8,
    "Mixed_7b": _GRID_8,
    "Mixed_7c": _GRID_8,
}


@BACKBONES.register("inception", InceptionOptions)
class Inception(Backbone):
    """Five grids of shrinking size; the features are the mean of the last one.

    Args:
        options: dropout and side branch.
        in_channels: channels of the images.
        dims: 2.
    """

    min_size_px = 75

    def __init__(self, options: InceptionOptions, *, in_channels: int, dims: int) -> None:
        require_2d("inception", dims)
        super().__init__(stage_dims=(64, 192, 288, 768, 2048), feature_dim=2048)
        self.Conv2d_1a_3x3 = _ConvNorm(in_channels, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = _ConvNorm(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = _ConvNorm(80, 192, 3)
        channels = 192
        for name, branches in _MIXED.items():
            mixed = _Mixed(channels, branches)
            self.add_module(name, mixed)
            channels = mixed.out_channels
        self.AuxLogits = _SideBranch(options.auxiliary_classes) if options.auxiliary_classes else None
        self.dropout = nn.Dropout(options.dropout)
        self.fc = nn.Linear(self.feature_dim, options.num_classes) if options.num_classes else nn.Identity()
        _initialise(self)

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """The mean over space, with dropout in training."""
        return self.dropout(super().pool(last))

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores of `fc` where there is one, otherwise the features."""
        return self.fc(features)

    def auxiliary(self, stages: tuple[StageMap, ...]) -> Float[Tensor, "B K"] | None:
        """Logits of the side branch on the fourth stage, where it was asked for."""
        return None if self.AuxLogits is None else self.AuxLogits(stages[3])

    def _stages(self, images: Float[Tensor, "B C H W"]) -> tuple[StageMap, ...]:
        first = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        current = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(first, 3, stride=2)))
        maps = [first, current]
        current = functional.max_pool2d(current, 3, stride=2)
        for name in _MIXED:
            current = self.get_submodule(name)(current)
            if name in {"Mixed_5d", "Mixed_6e", "Mixed_7c"}:
                maps.append(current)
        return tuple(maps)


class _ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, in_channels: int, channels: int, kernel: _Kernel, *, stride: int = 1, padding: _Kernel = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return functional.relu(self.bn(self.conv(images)))


class _Mixed(nn.Module):
    """Branches side by side, their outputs stacked."""

    def __init__(self, in_channels: int, branches: tuple[_Branch, ...]) -> None:
        super().__init__()
        self.branches = branches
        self.out_channels = 0
        for branch in branches:
            channels = in_channels
            for layer in branch.layers:
                self._add(branch, layer, channels)
                channels = layer.channels
            for layer in branch.fork:
                self._add(branch, layer, channels)
            self.out_channels += sum(layer.channels for layer in branch.fork) or channels

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return torch.cat([output for branch in self.branches for output in self._run(branch, images)], dim=1)

    def _run(self, branch: _Branch, images: Tensor) -> list[Tensor]:
        if branch.pooling == "mean":
            images = functional.avg_pool2d(images, 3, stride=1, padding=1)
        elif branch.pooling == "halving max":
            images = functional.max_pool2d(images, 3, stride=2)
        for layer in branch.layers:
            images = self.get_submodule(branch.name + layer.suffix)(images)
        return [self.get_submodule(branch.name + layer.suffix)(images) for layer in branch.fork] or [images]

    def _add(self, branch: _Branch, layer: _Layer, in_channels: int) -> None:
        tall, wide = (layer.kernel, layer.kernel) if isinstance(layer.kernel, int) else layer.kernel
        stride, padding = (2, 0) if layer.halving else (1, (tall // 2, wide // 2))
        conv = _ConvNorm(in_channels, layer.channels, layer.kernel, stride=stride, padding=padding)
        self.add_module(branch.name + layer.suffix, conv)


class _SideBranch(nn.Module):
    """Classifier on the 17x17 grid that is trained along (section 4)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv0 = _ConvNorm(768, 128, 1)
        self.conv1 = _ConvNorm(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, grid: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        # The paper's pooling makes 17x17 a 5x5 grid, which conv1 needs; smaller images get there adaptively.
        full = min(grid.shape[2:]) >= 17
        pooled = functional.avg_pool2d(grid, 5, stride=3) if full else functional.adaptive_avg_pool2d(grid, 5)
        return self.fc(self.conv1(self.conv0(pooled)).mean(dim=(2, 3)))


def _initialise(network: nn.Module) -> None:
    """Truncated normal weights, as in the published training code."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            std = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.get(name, 0.1)
            nn.init.trunc_normal_(module.weight, std=std, a=-2, b=2)
