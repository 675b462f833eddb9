"""The promises of losses and of objectives, and the registries that hold them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from jaxtyping import Bool, Float
from torch import Tensor, nn

from resight.registry import Registry
from resight.training.data import Batch


class Loss(Protocol):
    """A differentiable loss that ignores unknown labels."""

    def __call__(
        self, logits: Float[Tensor, "B L"], targets: Float[Tensor, "B L"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the entries where `mask` is true; 0 with a gradient of 0 where there is none."""
        ...


class Objective(nn.Module, ABC):
    """What one step of the optimiser makes smaller.

    Its parameters, where it has any, are trained along with the model's; parameters and buffers go into every
    checkpoint, so that a resumed run goes on as if it had not stopped.
    """

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch, as a mean over its known entries.

        Args:
            model: the network; autocast is on.
            batch: images on the scale 0 to 255, targets with 0 where they are not known.
        """


LOSSES: Registry[Callable[..., Any]] = Registry("loss", "resight.training.losses")
"""Builders `(options, *, task, positive_weight) -> Loss`."""
OBJECTIVES: Registry[Callable[..., Objective]] = Registry("objective", "resight.training")
"""Builders `(options, *, loss, model, train) -> Objective`; `train` is the `TrainingData`."""
