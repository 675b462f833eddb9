"""Dropout and one linear layer: the head of the residual networks (He et al. 2016, section 3.3)."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.heads.base import HEADS
from resight.settings import Options


class LinearOptions(Options):
    """Dropout and a linear layer."""

    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of features dropped in training")


@HEADS.register("linear", LinearOptions)
class Linear(nn.Module):
    """Features to logits by one matrix.

    Args:
        options: dropout.
        in_features: F, length of the feature vector.
        n_labels: L, one logit each.
    """

    def __init__(self, options: LinearOptions, *, in_features: int, n_labels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.fc = nn.Linear(in_features, n_labels)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B L"]:
        """Logits of a batch of features."""
        return self.fc(self.dropout(features))
