"""One feature vector from those of many parts: the slices or windows of a volume."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Pooling = Literal["mean", "max", "attention"]

_HIDDEN = 128
"""Width of the attention's hidden layer, as in the paper."""


class PartPooling(nn.Module):
    """Mean, maximum, or attention (Ilse et al. 2018, equations 7 and 9: gated) over parts, in any order.

    Args:
        kind: how.
        features: length F of the vectors.
    """

    def __init__(self, kind: Pooling, features: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.content, self.gate = nn.Linear(features, _HIDDEN), nn.Linear(features, _HIDDEN)
            self.score = nn.Linear(_HIDDEN, 1, bias=False)

    def weights(self, parts: Float[Tensor, "B P F"]) -> Float[Tensor, "B P"]:
        """Share of each part in the attention's result; they add up to 1."""
        hidden = torch.tanh(self.content(parts)) * torch.sigmoid(self.gate(parts))
        return self.score(hidden).squeeze(-1).softmax(dim=1)

    def forward(self, parts: Float[Tensor, "B P F"]) -> Float[Tensor, "B F"]:
        """The vector of the whole."""
        if self.kind == "mean":
            return parts.mean(dim=1)
        if self.kind == "max":
            return parts.amax(dim=1)
        return (self.weights(parts).unsqueeze(-1) * parts).sum(dim=1)
