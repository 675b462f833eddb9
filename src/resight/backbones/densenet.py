"""Densely connected networks (Huang et al. 2017, table 1), with torchvision's parameter names."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.base import BACKBONES, Backbone, StageMap, require_2d
from resight.settings import Options

_BLOCKS: Final = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
_STEM = 64
_GROWTH = 32
_BOTTLENECK = 4


class DenseNetOptions(Options):
    """DenseNet-BC: every layer sees all maps before it, for images from 29 pixels."""

    depth: Literal[121, 169, 201] = Field(default=121, description="layers with weights")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of a layer's output dropped in training")
    num_classes: int = Field(default=0, ge=0, description="own last layer `classifier`; 0 for features")


@BACKBONES.register("densenet", DenseNetOptions)
class DenseNet(Backbone):
    """Four dense blocks with halving transitions between them.

    Args:
        options: depth.
        in_channels: channels of the images.
        dims: 2.
    """

    min_size_px = 29

    def __init__(self, options: DenseNetOptions, *, in_channels: int, dims: int) -> None:
        require_2d("densenet", dims)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(in_channels, _STEM, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(_STEM),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels, stage_dims = _STEM, []
        for index, count in enumerate(_BLOCKS[options.depth], start=1):
            if index > 1:
                layers[f"transition{index - 1}"] = _transition(channels, channels // 2)
                channels //= 2
            layers[f"denseblock{index}"] = _DenseBlock(count, channels, options.dropout)
            channels += count * _GROWTH
            stage_dims.append(channels)
        layers["norm5"] = nn.BatchNorm2d(channels)
        super().__init__(stage_dims=tuple(stage_dims), feature_dim=channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, options.num_classes) if options.num_classes else nn.Identity()
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores where there is a last layer, otherwise the features."""
        return self.classifier(features)

    def _stages(self, images: Float[Tensor, "B C H W"]) -> tuple[StageMap, ...]:
        current, maps = images, []
        for layer in self.features:
            current = layer(current)
            if isinstance(layer, _DenseBlock):
                maps.append(current)
        return *maps[:-1], functional.relu(current)


class _DenseLayer(nn.Module):
    """Norm, ReLU, 1x1; norm, ReLU, 3x3."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        inner = _BOTTLENECK * _GROWTH
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, _GROWTH, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B G H W"]:
        inner = self.conv1(functional.relu(self.norm1(images)))
        return self.dropout(self.conv2(functional.relu(self.norm2(inner))))


class _DenseBlock(nn.ModuleDict):
    """Layers whose outputs are stacked behind their input."""

    def __init__(self, count: int, channels: int, dropout: float) -> None:
        super().__init__({f"denselayer{i + 1}": _DenseLayer(channels + i * _GROWTH, dropout) for i in range(count)})

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        for layer in self.values():
            images = torch.cat([images, layer(images)], dim=1)
        return images


def _transition(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            conv=nn.Conv2d(channels, out_channels, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )
