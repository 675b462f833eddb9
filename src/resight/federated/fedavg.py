"""Federated averaging (McMahan et al., AISTATS 2017, algorithm 1): the mean of the sites' weights, by cases."""

from __future__ import annotations

from resight.federated.base import STRATEGIES, Strategy
from resight.settings import Options


class FedAvgOptions(Options):
    """Mean of the sites' weights."""


@STRATEGIES.register("fedavg", FedAvgOptions)
class FedAvg(Strategy):
    """The promises' defaults and nothing else."""
