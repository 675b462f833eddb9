"""FedAdam and FedYogi (Reddi et al., ICLR 2021, algorithm 2): the mean update is a gradient for an adaptive server."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from resight.federated.aggregate import AdaptiveStep, Tensors
from resight.federated.base import STRATEGIES, Strategy, Updates
from resight.federated.messages import Arrays
from resight.settings import Options


class FedAdamOptions(Options):
    """Mean update, scaled by Adam at the server."""

    rate: float = Field(default=0.01, gt=0, description="server learning rate")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="memory of the mean update")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="memory of its square")
    floor: float = Field(default=1e-3, gt=0, description="smallest divisor; smaller is more adaptive")


class FedYogiOptions(FedAdamOptions):
    """Mean update, scaled by Yogi at the server."""


class _Adaptive(Strategy):
    """Federated averaging with an adaptive server; running statistics, which are no weights, are averaged."""

    options: FedAdamOptions
    signed = False

    def __init__(self, options: FedAdamOptions) -> None:
        super().__init__(options)
        self._step = AdaptiveStep(options.rate, options.beta1, options.beta2, options.floor, signed=self.signed)
        self._weights: frozenset[str] = frozenset()

    def sent_along(self, shared: Arrays, model: nn.Module) -> Tensors:
        """Nothing; remembers which names are weights."""
        del shared
        self._weights = frozenset(name for name, _ in model.named_parameters())
        return {}

    def combine(self, shared: Arrays, updates: Updates) -> Tensors:
        """Shared weights plus the scaled step."""
        mean = updates.mean()
        return {
            name: (array + (self._step(name, mean[name]) if name in self._weights else mean[name])).astype(array.dtype)
            for name, array in shared.items()
        }

    def state(self) -> Tensors:
        """Both moments."""
        first = {f"first.{name}": array for name, array in self._step.first.items()}
        return first | {f"second.{name}": array for name, array in self._step.second.items()}

    def restore(self, tensors: Tensors) -> None:
        """Take both moments up."""
        for key, array in tensors.items():
            kind, _, name = key.partition(".")
            getattr(self._step, kind)[name] = array


@STRATEGIES.register("fedadam", FedAdamOptions)
class FedAdam(_Adaptive):
    """The second moment moves by its distance from the square of the mean update."""


@STRATEGIES.register("fedyogi", FedYogiOptions)
class FedYogi(_Adaptive):
    """The second moment moves by the sign of that distance, so that it does not jump."""

    signed = True
