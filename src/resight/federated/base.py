"""The promises of a strategy: what a site does differently, and how updates become the next shared weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from resight.federated.aggregate import Tensors, divided, weighted_sum
from resight.federated.messages import Arrays
from resight.registry import Registry
from resight.settings import Options
from resight.training import Objective, TrainingOptions

CONTROL = "control."
"""Prefix of arrays that travel beside the weights."""


@dataclass(frozen=True)
class Updates:
    """What a round brought.

    Attributes:
        total: sum over sites of weight x update, for every shared name and whatever else the strategy sends along.
        weight: sum of the weights.
        each: the single updates, where the strategy must see them; else empty.
        sites: how many took part.
        everyone: how many sites there are.
    """

    total: Arrays
    weight: float
    sites: int
    everyone: int
    each: Sequence[Arrays] = ()

    @classmethod
    def of(cls, updates: Sequence[Arrays], weights: Sequence[float], everyone: int) -> Updates:
        """Open updates of single sites."""
        return cls(weighted_sum(updates, weights), float(sum(weights)), len(updates), everyone, tuple(updates))

    def mean(self) -> Tensors:
        """The weighted mean update."""
        return divided(self.total, self.weight)


class Strategy:
    """One way of learning together; everything has a default, and the defaults are federated averaging.

    One object lives at the server and one at each site: `combine`, `state` and `restore` belong to the server, `wrap`
    and `after` to the site.
    """

    needs_each: ClassVar[bool] = False
    """Whether the server must see the updates of single sites; then there is no secure aggregation."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self, training: TrainingOptions) -> None:
        """Refuse settings of the local training that the strategy is not made for.

        Raises:
            SettingsError: what does not fit.
        """
        del training

    def stays(self, model: nn.Module) -> frozenset[str]:
        """Names of the tensors that never leave a site."""
        del model
        return frozenset()

    def sent_along(self, shared: Arrays, model: nn.Module) -> Tensors:
        """What the server sends besides the shared weights; names begin with `control.`."""
        del shared, model
        return {}

    def wrap(self, objective: Objective, model: nn.Module, along: Arrays, memory: Tensors) -> Objective:
        """The objective of one round at a site; `model` holds the shared weights, `memory` is kept for later rounds."""
        del model, along, memory
        return objective

    def after(
        self,
        moved: Arrays,
        along: Arrays,
        memory: Tensors,
        steps: int,
        rate: float,
    ) -> Tensors:
        """What leaves a site besides its update.

        Args:
            moved: weights after the round less weights before, by name.
            along: what came with the shared weights.
            memory: what the site keeps; may be changed.
            steps: optimiser steps of the round.
            rate: mean learning rate of those steps.
        """
        del moved, along, memory, steps, rate
        return {}

    def combine(self, shared: Arrays, updates: Updates) -> Tensors:
        """The next shared weights."""
        mean = updates.mean()
        return {name: (array + mean[name]).astype(array.dtype) for name, array in shared.items()}

    def state(self) -> Tensors:
        """What the server must remember to go on after a restart."""
        return {}

    def restore(self, tensors: Tensors) -> None:
        """Take up what `state` gave."""
        del tensors


STRATEGIES: Registry[Callable[..., Strategy]] = Registry("strategy", "resight.federated")
"""Builders `(options) -> Strategy`."""
