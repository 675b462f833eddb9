"""Random vector functional link network: hidden nodes and direct links (Pao, Park & Sobajic 1994)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from resight.heads.base import CLASSIFIERS
from resight.heads.randomized import PENALTIES, HiddenBias, HiddenWeights, RandomizedNetwork, RandomizedOptions


class RVFLOptions(RandomizedOptions):
    """Random vector functional link network."""

    output_bias: bool = Field(default=False, description="add a bias to the output layer")


class RVFL(RandomizedNetwork):
    """The output layer sees hidden nodes and standardised features: `D = [H | X]`.

    Takes the arguments of `RandomizedNetwork` (written out because scikit-learn reads them from here) and:

    Args:
        output_bias: add an output bias, which is not penalised.
    """

    direct_links = True

    def __init__(
        self,
        n_hidden: int = 400,
        *,
        activation: str = "sigmoid",
        ridge: float | tuple[float, ...] = PENALTIES,
        weight_scale: float | str = "auto",
        bias_scale: float = 1.0,
        class_weight: str | Mapping[Any, float] | None = None,
        hidden_weights: HiddenWeights | None = None,
        hidden_bias: HiddenBias | None = None,
        random_state: int | np.random.RandomState | None = None,
        output_bias: bool = False,
    ) -> None:
        super().__init__(
            n_hidden,
            activation=activation,
            ridge=ridge,
            weight_scale=weight_scale,
            bias_scale=bias_scale,
            class_weight=class_weight,
            hidden_weights=hidden_weights,
            hidden_bias=hidden_bias,
            random_state=random_state,
        )
        self.output_bias = output_bias


@CLASSIFIERS.register("rvfl", RVFLOptions)
def _build(options: RVFLOptions, *, seed: int) -> RVFL:
    return RVFL(**options.model_dump(), random_state=seed)
