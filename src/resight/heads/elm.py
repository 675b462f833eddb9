"""Extreme learning machine: random hidden nodes, output weights by least squares (Huang, Zhu & Siew 2006)."""

from __future__ import annotations

from resight.heads.base import CLASSIFIERS
from resight.heads.randomized import RandomizedNetwork, RandomizedOptions


class ELMOptions(RandomizedOptions):
    """Extreme learning machine."""


class ELM(RandomizedNetwork):
    """The output layer sees the hidden nodes alone: `D = H`."""


@CLASSIFIERS.register("elm", ELMOptions)
def _build(options: ELMOptions, *, seed: int) -> ELM:
    return ELM(**options.model_dump(), random_state=seed)
