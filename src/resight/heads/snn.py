"""Schmidt's network: random hidden nodes and an output bias (Schmidt, Kraaijveld & Duin 1992)."""

from __future__ import annotations

from resight.heads.base import CLASSIFIERS
from resight.heads.randomized import RandomizedNetwork, RandomizedOptions


class SNNOptions(RandomizedOptions):
    """Schmidt's network: random hidden nodes and an output bias."""


class SchmidtNetwork(RandomizedNetwork):
    """The output layer sees the hidden nodes and a one: `D = [H | 1]`, the bias not penalised."""

    output_bias = True


@CLASSIFIERS.register("snn", SNNOptions)
def _build(options: SNNOptions, *, seed: int) -> SchmidtNetwork:
    return SchmidtNetwork(**options.model_dump(), random_state=seed)
