"""Where several images of one patient meet: as channels, behind stems of their own with a gate, or at the last stage.

An image that is missing is 0 everywhere, before and after normalisation; so a stem can tell by itself what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.blocks import CONV
from resight.errors import SettingsError
from resight.registry import Registry
from resight.settings import Options


class StemOptions(Options):
    """Options that every stem has."""

    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="chance that a modality is hidden in training; one always stays"
    )


class ChannelsOptions(StemOptions):
    """Modalities as channels of one image (early fusion)."""


class GatedOptions(StemOptions):
    """A stem of each modality's own, joined by gates at every pixel (Arevalo et al. 2017, equations 1 to 3)."""

    width: int = Field(default=16, gt=0, description="channels that each stem gives")


class SeparateOptions(StemOptions):
    """A backbone of each modality's own, joined at the last stage (late fusion)."""


class StemBuilder(Protocol):
    """Builds what stands before the backbone, and says what the backbone is built for.

    `options` is an instance of the class the member was registered with.
    """

    def __call__(self, options: Any, /, *, modalities: int, channels: int, dims: int) -> tuple[nn.Module, int, int]:
        """The module before the backbone, the channels it gives, and how many backbones share these."""
        ...


STEMS: Registry[StemBuilder] = Registry("stem", "resight.multimodal.stems")


@STEMS.register("channels", ChannelsOptions)
def _channels(options: ChannelsOptions, *, modalities: int, channels: int, dims: int) -> tuple[nn.Module, int, int]:
    del options, dims
    return nn.Identity(), modalities * channels, 1


@STEMS.register("separate", SeparateOptions)
def _separate(options: SeparateOptions, *, modalities: int, channels: int, dims: int) -> tuple[nn.Module, int, int]:
    del options, dims
    return nn.Identity(), modalities * channels, modalities


@STEMS.register("gated", GatedOptions)
def _gated(options: GatedOptions, *, modalities: int, channels: int, dims: int) -> tuple[nn.Module, int, int]:
    return GatedStems(modalities, channels, options.width, dims), options.width, 1


class GatedStems(nn.Module):
    """Sum over modalities of gate times features, at every pixel; gates see all modalities, missing ones give nothing.

    Args:
        modalities: M.
        channels: of each modality.
        width: of the result.
        dims: 2 for images, 3 for volumes.
    """

    def __init__(self, modalities: int, channels: int, width: int, dims: int) -> None:
        super().__init__()
        if dims not in CONV:
            raise SettingsError(f"dims = {dims}", where="stem 'gated'", expected="2 or 3")
        conv: Callable[..., nn.Module] = CONV[dims]
        self.channels = channels
        self.features = nn.ModuleList(conv(channels, width, 3, padding=1) for _ in range(modalities))
        self.gates = nn.ModuleList(conv(modalities * channels, width, 3, padding=1) for _ in range(modalities))

    def forward(self, images: Float[Tensor, "B MC *space"]) -> Float[Tensor, "B K *space"]:
        """Joined features; a modality that is 0 everywhere does not count."""
        joined: Tensor | None = None
        for features, gate, part in zip(self.features, self.gates, images.split(self.channels, dim=1), strict=True):
            there = (part.flatten(1) != 0).any(dim=1).view(-1, *[1] * (part.ndim - 1))
            one = torch.tanh(features(part)) * torch.sigmoid(gate(images)) * there
            joined = one if joined is None else joined + one
        assert joined is not None
        return joined
