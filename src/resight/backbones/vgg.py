"""VGG (Simonyan and Zisserman 2015, table 1), with torchvision's parameter names."""

from __future__ import annotations

from typing import Final, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.base import BACKBONES, Backbone, StageMap, require_2d
from resight.settings import Options

_STAGES: Final = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS: Final = (64, 128, 256, 512, 512)
_HIDDEN = 4096


class VGGOptions(Options):
    """VGG: stages of 3x3 convolutions and two hidden layers, for images from 32 pixels."""

    depth: Literal[11, 13, 16, 19] = Field(default=16, description="layers with weights")
    norm: Literal["none", "batch"] = Field(default="none", description="batch normalisation after every convolution")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="share dropped after each hidden layer in training")
    num_classes: int = Field(default=0, ge=0, description="own last layer `classifier.6`; 0 for features")


@BACKBONES.register("vgg", VGGOptions)
class VGG(Backbone):
    """Five stages of 3x3 convolutions; the features are the second hidden layer.

    Args:
        options: depth and normalisation.
        in_channels: channels of the images.
        dims: 2.
    """

    min_size_px = 32
    pools_by_mean = False

    def __init__(self, options: VGGOptions, *, in_channels: int, dims: int) -> None:
        require_2d("vgg", dims)
        super().__init__(stage_dims=_WIDTHS, feature_dim=_HIDDEN)
        self.features = nn.Sequential()
        channels = in_channels
        for count, width in zip(_STAGES[options.depth], _WIDTHS, strict=True):
            for _ in range(count):
                self.features.append(nn.Conv2d(channels, width, 3, padding=1))
                if options.norm == "batch":
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                channels = width
            self.features.append(nn.MaxPool2d(2))
        self.classifier = nn.Sequential(
            nn.Linear(_WIDTHS[-1] * 7 * 7, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(_HIDDEN, options.num_classes) if options.num_classes else nn.Identity(),
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """A 7x7 grid of the last map through both hidden layers."""
        return self.classifier[:-1](functional.adaptive_avg_pool2d(last, 7).flatten(1))

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores where there is a last layer, otherwise the features."""
        return self.classifier[-1](features)

    def _stages(self, images: Float[Tensor, "B C H W"]) -> tuple[StageMap, ...]:
        current, maps = images, []
        for layer in self.features:
            current = layer(current)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(current)
        return tuple(maps)
