"""FedBN (Li et al., ICLR 2021): normalisation layers stay at the site, as they hold what its scanner looks like."""

from __future__ import annotations

from torch import nn

from resight.federated.base import STRATEGIES, Strategy
from resight.settings import Options

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


class FedBnOptions(Options):
    """Mean of the weights, without normalisation layers."""


@STRATEGIES.register("fedbn", FedBnOptions)
class FedBn(Strategy):
    """Federated averaging in which scales, shifts and running statistics of normalisation layers never leave."""

    def stays(self, model: nn.Module) -> frozenset[str]:
        """Every tensor of every normalisation layer."""
        return frozenset(
            f"{place}.{name}"
            for place, module in model.named_modules()
            if isinstance(module, _NORMS)
            for name in module.state_dict()
        )
