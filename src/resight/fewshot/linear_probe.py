"""A linear probe: logistic regression on the support set (Chen et al., ICLR 2019, "A closer look", baseline)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from resight.fewshot.base import FEWSHOT, Features
from resight.fewshot.prototypes import unit
from resight.settings import Options


class LinearProbeOptions(Options):
    """Logistic regression on centred features of length 1."""

    penalty: float = Field(default=0.1, gt=0, description="L2 penalty of the weights, per support image")


@FEWSHOT.register("linear_probe", LinearProbeOptions)
class LinearProbe:
    """Multinomial logistic regression, solved in the span of the support images, which is small."""

    def __init__(self, options: LinearProbeOptions, *, base: Features) -> None:
        self.options = options
        self._mean = base.mean(axis=0) if len(base) else 0.0

    def scores(
        self, support: Features, classes: Int[np.ndarray, " N"], queries: Float[np.ndarray, "Q F"], n_classes: int
    ) -> Float[np.ndarray, "Q W"]:
        """Logits. The best weights lie in the span of the support, so N coefficients a class are enough."""
        known, asked = unit(support - self._mean), unit(queries - self._mean)
        kernel = known @ known.T
        target = np.eye(n_classes)[classes]
        n = len(classes)

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(n + 1, n_classes)
            alpha, bias = weights[:-1], weights[-1]
            logits = kernel @ alpha + bias
            off = (softmax(logits, axis=1) - target) / n
            value = -float((target * log_softmax(logits, axis=1)).sum()) / n
            value += 0.5 * self.options.penalty * float((alpha * (kernel @ alpha)).sum())
            slope = kernel @ (off + self.options.penalty * alpha)
            return value, np.concatenate([slope, off.sum(axis=0)[None]]).ravel()

        found = minimize(loss, np.zeros((n + 1) * n_classes), jac=True, method="L-BFGS-B").x
        weights = found.reshape(n + 1, n_classes)
        return asked @ known.T @ weights[:-1] + weights[-1]
