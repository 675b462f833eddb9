"""Gates that leave residual units out, image by image (Veit and Belongie 2018, section 3), and the watch over them.

In training a gate is open or closed at random with the probability it computes, and the gradient passes straight
through (Bengio et al. 2013; the noise is that of Jang et al. 2017 for two classes). Outside of training a unit runs
for the images whose gate is at or above a threshold, and for no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

_HIDDEN: Final = 16
_OPEN_AT_FIRST: Final = 1.5
"""Logit of a fresh gate, 82 % open: a network whose units are shut does not learn what they are good for."""


@dataclass
class _Watch:
    threshold: float
    probabilities: list[Tensor] = field(default_factory=list[Tensor])


_WATCH: ContextVar[_Watch | None] = ContextVar("gates", default=None)


class Gate(nn.Module):
    """Mean over space, two dense layers, one probability an image.

    Args:
        channels: channels of the map that the unit takes.
        dims: spatial dimensions.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.space = tuple(range(2, 2 + dims))
        last = nn.Linear(_HIDDEN, 1)
        nn.init.constant_(last.bias, _OPEN_AT_FIRST)
        self.net = nn.Sequential(nn.Linear(channels, _HIDDEN), nn.ReLU(), last)

    def forward(self, images: Float[Tensor, "B C *space"]) -> Shaped[Tensor, " B"]:
        """Factors 0 or 1 with a gradient in training, otherwise which images the unit runs for."""
        logits = self.net(images.mean(dim=self.space)).squeeze(1).float()
        probabilities, watch = logits.sigmoid(), _WATCH.get()
        if watch is not None:
            watch.probabilities.append(probabilities)
        if not self.training:
            return probabilities >= (0.5 if watch is None else watch.threshold)
        uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        soft = (logits + uniform.logit()).sigmoid()
        return (soft >= 0.5).float() - soft.detach() + soft


@contextmanager
def watching_gates(threshold: float = 0.5) -> Iterator[list[Float[Tensor, " B"]]]:
    """Collect the probability of every gate that is asked meanwhile, in the order in which they are asked.

    Args:
        threshold: gates at or above it are open, outside of training; 0 opens all.
    """
    watch = _Watch(threshold)
    token = _WATCH.set(watch)
    try:
        yield watch.probabilities
    finally:
        _WATCH.reset(token)
