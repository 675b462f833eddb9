"""What every loss promises: `(logits, targets, mask) -> scalar`, the mean over the entries that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from jaxtyping import Bool, Float
from torch import Tensor

from resight.registry import Registry


class Loss(Protocol):
    """A differentiable loss that ignores unknown labels."""

    def __call__(
        self, logits: Float[Tensor, "B L"], targets: Float[Tensor, "B L"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the entries where `mask` is true; 0 with a gradient of 0 where there is none."""
        ...


LOSSES: Registry[Callable[..., Any]] = Registry("loss", "resight.training.losses")
"""Builders `(options, *, task, positive_weight) -> Loss`."""
