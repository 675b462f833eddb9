"""LayerCAM: every pixel of a map weighted by its own gradient, at any stage (Jiang et al., IEEE TIP 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from resight.explain.activation import StageOptions, enlarged, stage_evidence
from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps
from resight.models import Classifier


class LayerCAMOptions(StageOptions):
    """LayerCAM: fine maps from early stages."""


@EXPLAINERS.register("layercam", LayerCAMOptions)
class LayerCAM(Explainer):
    """`ReLU(sum over k of ReLU(gradient) A_k)`, pixel by pixel.

    Args:
        options: the stage.
    """

    def __init__(self, options: LayerCAMOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        evidence = stage_evidence(classifier, images, self.options.stage)
        gradients = evidence.gradients.relu().expand(-1, -1, *evidence.activations.shape[1:])
        maps = torch.einsum("blk...,bk...->bl...", gradients, evidence.activations)
        return evidence.logits, enlarged(maps.relu(), images)
