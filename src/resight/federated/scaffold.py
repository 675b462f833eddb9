"""SCAFFOLD (Karimireddy et al., ICML 2020, algorithm 1, option II): control variates take the sites' drift out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from resight.errors import SettingsError
from resight.federated.aggregate import Tensors
from resight.federated.base import CONTROL, STRATEGIES, Strategy, Updates
from resight.federated.messages import Arrays
from resight.settings import Options
from resight.training import Objective, TrainingOptions
from resight.training.data import Batch


class ScaffoldOptions(Options):
    """Mean of the weights, with local steps corrected by control variates."""


class Corrected(Objective):
    """Another objective plus a linear term whose gradient is the shared less the site's control variate."""

    def __init__(self, inner: Objective, correction: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.inner, self.correction = inner, correction

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        terms = [(p * self.correction[name]).sum() for name, p in model.named_parameters() if name in self.correction]
        return self.inner(model, batch).float() + sum(terms)


@STRATEGIES.register("scaffold", ScaffoldOptions)
class Scaffold(Strategy):
    """Federated averaging with control variates; the server keeps one set, every site another."""

    def __init__(self, options: ScaffoldOptions) -> None:
        super().__init__(options)
        self._control: Tensors = {}

    def check(self, training: TrainingOptions) -> None:
        """Plain SGD only, as the control variates are mean gradients taken from the way that the weights went.

        Raises:
            SettingsError: another optimiser, or momentum.
        """
        if training.optimizer != "sgd" or training.momentum:
            found = f"optimizer {training.optimizer!r} with momentum {training.momentum:g}"
            fix = "Set training.optimizer=sgd and training.momentum=0."
            raise SettingsError(found, where="strategy 'scaffold'", expected="plain SGD", fix=fix)

    def sent_along(self, shared: Arrays, model: nn.Module) -> Tensors:
        """The shared control variate."""
        for name, parameter in model.named_parameters():
            if name in shared and parameter.requires_grad and CONTROL + name not in self._control:
                self._control[CONTROL + name] = np.zeros(parameter.shape, np.float32)
        return dict(self._control)

    def wrap(self, objective: Objective, model: nn.Module, along: Arrays, memory: Tensors) -> Objective:
        """The objective with the correction."""
        device = next(model.parameters()).device
        correction = {
            name.removeprefix(CONTROL): torch.from_numpy(control - memory.get(name, np.zeros_like(control))).to(device)
            for name, control in along.items()
        }
        return Corrected(objective, correction)

    def after(
        self,
        moved: Arrays,
        along: Arrays,
        memory: Tensors,
        steps: int,
        rate: float,
    ) -> Tensors:
        """The change of the site's control variate."""
        changes: Tensors = {}
        for name, control in along.items():
            before = memory.get(name, np.zeros_like(control))
            after = before - control - moved[name.removeprefix(CONTROL)] / np.float32(steps * rate)
            changes[name] = (after - before).astype(np.float32)
            memory[name] = after.astype(np.float32)
        return changes

    def combine(self, shared: Arrays, updates: Updates) -> Tensors:
        """Shared weights plus the mean update; the control variate moves by the share of sites that took part."""
        mean = updates.mean()
        share = updates.sites / updates.everyone
        for name in self._control:
            self._control[name] = (self._control[name] + share * mean[name]).astype(np.float32)
        return {name: (array + mean[name]).astype(array.dtype) for name, array in shared.items()}

    def state(self) -> Tensors:
        """The shared control variate."""
        return dict(self._control)

    def restore(self, tensors: Tensors) -> None:
        """Take the control variate up."""
        self._control = dict(tensors)
