"""Layers by number of spatial dimensions, and the registry of attention layers."""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

from torch import nn

from resight.registry import Registry

Norm = Literal["batch", "group"]
NormLayer = nn.BatchNorm2d | nn.BatchNorm3d | nn.GroupNorm

CONV: Final = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOL: Final = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_BATCH_NORM: Final = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class AttentionBuilder(Protocol):
    """Builds a layer that reweights a feature map `(B, C, *space)` and keeps its shape."""

    def __call__(self, options: Any, /, *, channels: int, dims: int) -> nn.Module:
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
