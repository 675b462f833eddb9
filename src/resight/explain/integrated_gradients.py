"""Integrated gradients: evidence that adds up to a logit's change (Sundararajan et al., ICML 2017, section 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from resight.explain.base import EXPLAINERS, Explainer, Images, Logits, Maps, evaluating, filled, label_gradients
from resight.models import Classifier
from resight.settings import Options


class IntegratedGradientsOptions(Options):
    """Integrated gradients: every pixel, sums to the logit's change."""

    steps: int = Field(default=32, gt=0, description="points on the way, at Gauss-Legendre nodes")
    baseline: Literal["mean", "image", "black"] = Field(default="mean", description="the image without evidence")


@EXPLAINERS.register("integrated_gradients", IntegratedGradientsOptions)
class IntegratedGradients(Explainer):
    """Gradient averaged on the straight way from a baseline, times the difference, summed over channels.

    Args:
        options: steps and baseline.
    """

    def __init__(self, options: IntegratedGradientsOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        baseline = filled(self.options.baseline, classifier, images)
        difference = images - baseline
        with torch.no_grad():
            logits = classifier(images)
        total = images.new_zeros(len(images), logits.shape[1], *images.shape[1:])
        nodes, weights = np.polynomial.legendre.leggauss(self.options.steps)
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            with torch.enable_grad():
                point = (baseline + (1 + node) / 2 * difference).requires_grad_()
                total += weight / 2 * label_gradients(classifier(point), point)
        return logits, (difference[:, None] * total).sum(dim=2)

    def completeness_error(self, classifier: Classifier, images: Images, maps: Maps) -> Float[Tensor, "B L"]:
        """How far the completeness axiom is missed: `|sum - (f(x) - f(x0))|` as a share of the absolute evidence.

        0 where a map is empty and the logit did not change; infinite where it did.
        """
        images = images.to(classifier.mean)
        with torch.no_grad(), evaluating(classifier):
            change = classifier(images) - classifier(filled(self.options.baseline, classifier, images))
        error = (maps.flatten(2).sum(dim=2) - change).abs()
        return torch.where(error > 0, error / maps.flatten(2).abs().sum(dim=2), error)
