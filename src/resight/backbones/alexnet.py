"""AlexNet in its one-tower form (Krizhevsky 2014, section 5), with torchvision's parameter names."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.base import BACKBONES, Backbone, StageMap, require_2d
from resight.settings import Options

_HIDDEN = 4096


class AlexNetOptions(Options):
    """AlexNet: five convolutions and two hidden layers, for images from 63 pixels."""

    dropout: float = Field(default=0.5, ge=0, lt=1, description="share dropped before each hidden layer in training")
    num_classes: int = Field(default=0, ge=0, description="own last layer `classifier.6`; 0 for features")


@BACKBONES.register("alexnet", AlexNetOptions)
class AlexNet(Backbone):
    """Five convolutions in three stages; the features are the second hidden layer.

    Args:
        options: dropout.
        in_channels: channels of the images.
        dims: 2.
    """

    min_size_px = 63
    pools_by_mean = False

    def __init__(self, options: AlexNetOptions, *, in_channels: int, dims: int) -> None:
        require_2d("alexnet", dims)
        super().__init__(stage_dims=(64, 192, 256), feature_dim=_HIDDEN)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(options.dropout),
            nn.Linear(256 * 6 * 6, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, options.num_classes) if options.num_classes else nn.Identity(),
        )

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """A 6x6 grid of the last map through both hidden layers."""
        return self.classifier[:-1](functional.adaptive_avg_pool2d(last, 6).flatten(1))

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores where there is a last layer, otherwise the features."""
        return self.classifier[-1](features)

    def _stages(self, images: Float[Tensor, "B C H W"]) -> tuple[StageMap, ...]:
        first = self.features[:3](images)
        second = self.features[3:6](first)
        return first, second, self.features[6:](second)
