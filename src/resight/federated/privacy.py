"""Differential privacy: what is clipped, how much noise is added, and what epsilon that comes to.

A whole site (McMahan et al., ICLR 2018): updates are clipped, and the sum gets Gaussian noise, of which every site adds
its share: epsilon holds against whoever sees the sum. A single training image (DP-SGD, Abadi et al., CCS 2016): every
image's gradient is clipped, by Opacus. Both are counted by Rényi accounting (Mironov 2017), with Opacus' divergences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from resight.errors import SettingsError, require
from resight.federated.aggregate import Tensors, norm
from resight.federated.messages import Arrays


@dataclass
class EpsilonLedger:
    """Every use of the data so far, and the epsilon they add up to.

    Attributes:
        delta: chance that epsilon does not hold.
        uses: `(noise multiplier, sampling rate, steps)`; sampling rate 1 where nothing was drawn by chance.
    """

    delta: float
    uses: list[tuple[float, float, int]] = field(default_factory=list[tuple[float, float, int]])

    def add(self, noise: float, rate: float, steps: int) -> None:
        """One more use."""
        if self.uses and self.uses[-1][:2] == (noise, rate):
            self.uses[-1] = noise, rate, self.uses[-1][2] + steps
        else:
            self.uses.append((noise, rate, steps))

    def epsilon(self) -> float:
        """What the uses add up to; 0 before the first."""
        if not self.uses:
            return 0.0
        return _epsilon(self.uses, self.delta)

    def after(self, noise: float, rate: float, steps: int) -> float:
        """What they would add up to with one more use."""
        return _epsilon([*self.uses, (noise, rate, steps)], self.delta)


def clip(update: Arrays, largest: float) -> tuple[Tensors, float]:
    """An update shortened to a norm, and the factor it was shortened by."""
    factor = min(1.0, largest / max(norm(update), 1e-12))
    return {name: (array * factor).astype(array.dtype) for name, array in update.items()}, factor


def site_noise(noise: float, clip_norm: float, fewest: int) -> float:
    """Standard deviation that one site adds, so that the sum over at least `fewest` sites has that of the mechanism."""
    return noise * clip_norm / math.sqrt(fewest)


def with_noise(update: Arrays, deviation: float, rng: np.random.Generator) -> Tensors:
    """An update with Gaussian noise on every coordinate."""
    return {
        name: (array + deviation * rng.standard_normal(array.shape)).astype(array.dtype)
        for name, array in update.items()
    }


def check_network(model: nn.Module) -> None:
    """Refuse networks in which one image's gradient depends on others.

    Raises:
        SettingsError: batch normalisation, or ReLUs that overwrite what the gradients need.
    """
    for place, module in model.named_modules():
        if not any(parameter.requires_grad for parameter in _around(model, place).parameters()):
            continue
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            fix = "Set model.backbone.norm=group."
            raise SettingsError(f"batch normalisation in {place!r}", where="privacy.differential = 'example'", fix=fix)
        if getattr(module, "inplace", False):
            fix = "Set model.backbone.inplace_relu=false."
            raise SettingsError(f"{place!r} overwrites its input", where="privacy.differential = 'example'", fix=fix)


def _around(model: nn.Module, place: str) -> nn.Module:
    """The part of the network, one level below the top, that a module lies in."""
    return model.get_submodule(place.partition(".")[0])


def _epsilon(uses: list[tuple[float, float, int]], delta: float) -> float:
    """Rényi divergences added up, and turned into epsilon at the best order (Canonne et al. 2020, proposition 12)."""
    accountants = require("opacus.accountants", extra="federated")
    rdp = require("opacus.accountants.analysis.rdp", extra="federated")
    orders = [1.001, 1.01, *accountants.RDPAccountant.DEFAULT_ALPHAS, 128, 256, 512]
    spent = sum(rdp.compute_rdp(q=q, noise_multiplier=noise, steps=steps, orders=orders) for noise, q, steps in uses)
    alpha = np.asarray(orders)
    epsilons = spent - (math.log(delta) + np.log(alpha)) / (alpha - 1) + np.log((alpha - 1) / alpha)
    return max(0.0, float(np.min(epsilons)))
