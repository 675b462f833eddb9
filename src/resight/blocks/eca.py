"""Efficient channel attention (Wang et al. 2020, section 3.2 and equation 12)."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from resight.blocks.base import ATTENTION, AttentionLayer, Gates
from resight.settings import Options


class ECAOptions(Options):
    """Channels are weighted by what they and their neighbours hold on average."""


@ATTENTION.register("eca", ECAOptions)
class EfficientChannelAttention(AttentionLayer):
    """Mean over space, one convolution along the channels, a sigmoid gate per channel.

    Args:
        options: none.
        channels: channels of the map; the kernel grows with their logarithm.
        dims: spatial dimensions; any.
    """

    def __init__(self, options: ECAOptions, *, channels: int, dims: int) -> None:
        super().__init__()
        del options
        self.space = tuple(range(2, 2 + dims))
        kernel = int((math.log2(channels) + 1) / 2) // 2 * 2 + 1  # the nearest odd number, of gamma 2 and b 1
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def gates(self, images: Float[Tensor, "B C *space"]) -> Gates:
        """A gate per channel."""
        return Gates(self.conv(images.mean(dim=self.space)[:, None]).squeeze(1).sigmoid())
