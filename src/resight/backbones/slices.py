"""Volumes slice by slice through a network for images (2.5D): its weights fit, and thick slices are no obstacle."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.base import BACKBONES, Backbone, StageMap
from resight.backbones.wrapped import inner_network
from resight.blocks import PartPooling, Pooling
from resight.errors import SettingsError
from resight.settings import Options


class SlicesOptions(Options):
    """Volumes slice by slice through a network for images."""

    network: dict[str, Any] = Field(default={"name": "resnet"}, description="`name` of a backbone and its options")
    pooling: Pooling = Field(default="mean", description="how the slices' features become those of the volume")
    neighbours: int = Field(
        default=0, ge=0, le=8, description="slices on either side that each slice is shown with, as further channels"
    )
    num_classes: int = Field(default=0, ge=0, description="own last layer `fc`; 0 for features")


@BACKBONES.register("slices", SlicesOptions)
class Slices(Backbone):
    """Every slice of the depth axis through one 2D network; a stage's maps stand one behind the other.

    Args:
        options: network and pooling.
        in_channels: channels of the volumes.
        dims: 3.
    """

    stages_are_a_chain = False

    def __init__(self, options: SlicesOptions, *, in_channels: int, dims: int) -> None:
        if dims != 3:
            fix = "Use its network alone for images."
            raise SettingsError(f"dims = {dims}", where="backbone 'slices'", expected="3", fix=fix)
        network = inner_network(
            options.network, where="slices", in_channels=in_channels * (2 * options.neighbours + 1), dims=2
        )
        super().__init__(stage_dims=network.stage_dims, feature_dim=network.feature_dim)
        self.options = options
        self.network = network
        self.pools_by_mean = options.pooling == "mean" and network.pools_by_mean
        self.pooling = PartPooling(options.pooling, network.feature_dim)
        self.fc = nn.Linear(self.feature_dim, options.num_classes) if options.num_classes else nn.Identity()

    @property
    def published(self) -> nn.Module:
        """The network for images."""
        return self.network

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """Features of every slice, then of the volume."""
        features = self.network.pool(last.transpose(1, 2).flatten(0, 1))
        return self.pooling(features.unflatten(0, (len(last), -1)))

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores of `fc` where there is one, otherwise the features."""
        return self.fc(features)

    def _stages(self, images: Float[Tensor, "B C D H W"]) -> tuple[StageMap, ...]:
        slices = _with_neighbours(images, self.options.neighbours).transpose(1, 2).flatten(0, 1)
        slices = slices.contiguous(memory_format=torch.channels_last)
        return tuple(
            one.unflatten(0, (len(images), -1)).transpose(1, 2).contiguous() for one in self.network.stages(slices)
        )


def _with_neighbours(images: Float[Tensor, "B C D H W"], count: int) -> Float[Tensor, "B C2 D H W"]:
    """Each slice with those below and above it as channels; at the ends the last slice stands in."""
    if not count:
        return images
    depth = images.shape[2]
    padded = functional.pad(images, (0, 0, 0, 0, count, count), mode="replicate")
    return torch.cat([padded[:, :, offset : offset + depth] for offset in range(2 * count + 1)], dim=1)
