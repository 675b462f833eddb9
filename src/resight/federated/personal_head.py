"""Personalised heads (FedPer, Arivazhagan et al. 2019): the backbone is shared, each site keeps a head of its own."""

from __future__ import annotations

from torch import nn

from resight.federated.base import STRATEGIES, Strategy
from resight.settings import Options


class PersonalHeadOptions(Options):
    """Mean of the backbones; every site keeps its own head."""


@STRATEGIES.register("personal_head", PersonalHeadOptions)
class PersonalHead(Strategy):
    """Federated averaging of everything below the head."""

    def stays(self, model: nn.Module) -> frozenset[str]:
        """Every tensor of the head."""
        return frozenset(name for name in model.state_dict() if name.startswith("head."))
