"""Layers by number of spatial dimensions, the promise of an attention layer, and the registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from resight.blocks.conv2d import Conv2d
from resight.blocks.conv3d import Conv3d
from resight.registry import Registry

Norm = Literal["batch", "group"]
NormLayer = nn.BatchNorm2d | nn.BatchNorm3d | nn.GroupNorm

CONV: Final = {2: Conv2d, 3: Conv3d}
MAX_POOL: Final = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOL: Final = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_BATCH_NORM: Final = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@dataclass(frozen=True)
class Gates:
    """What an attention layer multiplies a map with, each between 0 and 1.

    Attributes:
        channels: one gate a channel, `(B, C)`.
        places: one gate a place, `(B, 1, *space)`; None where the layer does not weigh places.
    """

    channels: Float[Tensor, "B C"]
    places: Float[Tensor, "B 1 *space"] | None = None


class AttentionLayer(nn.Module, ABC):
    """Reweights a feature map by gates that can be read."""

    @abstractmethod
    def gates(self, images: Float[Tensor, "B C *space"]) -> Gates:
        """The gates of a map."""

    def forward(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C *space"]:
        """The map scaled by its gates."""
        gates = self.gates(images)
        scaled = images * over_space(gates.channels, images)
        return scaled if gates.places is None else scaled * gates.places


class AttentionBuilder(Protocol):
    """Builds a layer that reweights a feature map `(B, C, *space)` and keeps its shape."""

    def __call__(self, options: Any, /, *, channels: int, dims: int) -> AttentionLayer:
        """Build the layer with freshly drawn weights."""
        ...


ATTENTION: Registry[AttentionBuilder] = Registry("attention", "resight.blocks")


def build_norm(kind: Norm, channels: int, dims: int) -> NormLayer:
    """Batch normalisation, or group normalisation where statistics must not cross patients.

    Args:
        kind: `"batch"`, or `"group"` (Wu and He 2018: 32 groups, here of at least four channels).
        channels: channels of the feature map.
        dims: spatial dimensions, 2 or 3.
    """
    if kind == "batch":
        return _BATCH_NORM[dims](channels)
    groups = 32
    while groups > 1 and (channels % groups or channels // groups < 4):
        groups //= 2
    return nn.GroupNorm(groups, channels)


def build_attention(name: str, channels: int, dims: int) -> nn.Module:
    """An attention layer by name; `"none"` leaves the map as it is."""
    return nn.Identity() if name == "none" else ATTENTION.build(name, channels=channels, dims=dims)


def over_space(values: Float[Tensor, "B *C"], images: Float[Tensor, "B C2 *space"]) -> Float[Tensor, "B *C2"]:
    """Values per image, or per image and channel, in a shape that a map can be multiplied with."""
    return values[(..., *[None] * (images.ndim - values.ndim))]
