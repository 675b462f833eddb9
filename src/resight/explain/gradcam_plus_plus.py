"""Grad-CAM++: pixels weighted so that several occurrences count alike (Chattopadhay et al., WACV 2018, equation 19)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from resight.explain.activation import StageOptions, enlarged, stage_evidence
from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps
from resight.models import Classifier


class GradCAMPlusPlusOptions(StageOptions):
    """Grad-CAM++: for findings that occur several times in one image."""


@EXPLAINERS.register("gradcam++", GradCAMPlusPlusOptions)
class GradCAMPlusPlus(Explainer):
    """Grad-CAM with weights from second and third derivatives of `exp(logit)`, which are powers of the gradient.

    The factor `exp(logit)` that all weights of a map share is left away: it scales the map and overflows.

    Args:
        options: the stage.
    """

    def __init__(self, options: GradCAMPlusPlusOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        evidence = stage_evidence(classifier, images, self.options.stage)
        activations = evidence.activations.flatten(2)[:, None]
        gradients = evidence.gradients.flatten(3).expand(-1, -1, -1, activations.shape[-1])
        # Equation 19 divided by the squared gradient; where the gradient is not positive the weight is 0 anyway.
        denominator = 2 + activations.sum(dim=3, keepdim=True) * gradients
        alpha = torch.where(gradients > 0, 1 / denominator, torch.zeros_like(gradients))
        weights = (alpha * gradients).sum(dim=3)
        maps = torch.einsum("blk,bk...->bl...", weights, evidence.activations)
        return evidence.logits, enlarged(maps.relu(), images)
