"""FedProx (Li et al., MLSys 2020, equation 2): a site's weights are held near to the shared ones."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.federated.aggregate import Tensors
from resight.federated.base import STRATEGIES, Strategy
from resight.federated.messages import Arrays
from resight.settings import Options
from resight.training import Objective
from resight.training.data import Batch


class FedProxOptions(Options):
    """Mean of weights that were held near to the shared ones."""

    mu: float = Field(default=0.01, ge=0, description="half of it is the price of a squared distance of 1")


class Proximal(Objective):
    """Another objective plus `mu / 2` times the squared distance from the weights that the round began with."""

    def __init__(self, inner: Objective, model: nn.Module, mu: float) -> None:
        super().__init__()
        self.inner, self.mu = inner, mu
        self.anchor = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        far = [(p - self.anchor[name]).square().sum() for name, p in model.named_parameters() if name in self.anchor]
        return self.inner(model, batch).float() + self.mu / 2 * sum(far)


@STRATEGIES.register("fedprox", FedProxOptions)
class FedProx(Strategy):
    """Federated averaging with a proximal term at the sites."""

    options: FedProxOptions

    def wrap(self, objective: Objective, model: nn.Module, along: Arrays, memory: Tensors) -> Objective:
        """The objective with the proximal term."""
        del along, memory
        return Proximal(objective, model, self.options.mu)
