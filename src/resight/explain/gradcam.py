"""Grad-CAM: channels weighted by the mean gradient of the logit (Selvaraju et al., ICCV 2017, equations 1 and 2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from resight.explain.activation import StageOptions, enlarged, stage_evidence
from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps
from resight.models import Classifier


class GradCAMOptions(StageOptions):
    """Grad-CAM: one forward pass for all labels at the last stage."""


@EXPLAINERS.register("gradcam", GradCAMOptions)
class GradCAM(Explainer):
    """`ReLU(sum over k of a_k A_k)` with `a_k` the mean of the gradient over the map.

    Args:
        options: the stage.
    """

    def __init__(self, options: GradCAMOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        evidence = stage_evidence(classifier, images, self.options.stage)
        weights = evidence.gradients.flatten(3).mean(dim=3)
        maps = torch.einsum("blk,bk...->bl...", weights, evidence.activations)
        return evidence.logits, enlarged(maps.relu(), images)
