"""Stochastic depth (Huang et al. 2016, section 3): a whole residual branch is left out for some samples in training."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zero the branch of a sample with probability `rate` and scale the others, so that its mean stays.

    Args:
        rate: share of samples whose branch is dropped, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C *space"]:
        """The branch with some samples zeroed; unchanged outside of training."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = branch.new_empty(branch.shape[0], *[1] * (branch.ndim - 1)).bernoulli_(1.0 - self.rate)
        return branch * keep / (1.0 - self.rate)

    def extra_repr(self) -> str:
        """The rate, for printing."""
        return f"rate={self.rate:g}"
