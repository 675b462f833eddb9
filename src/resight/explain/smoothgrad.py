"""SmoothGrad: the gradient averaged over noisy copies of the image (Smilkov et al. 2017)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps, label_gradients
from resight.models import Classifier
from resight.settings import Options


class SmoothGradOptions(Options):
    """SmoothGrad: gradient averaged over noisy copies."""

    samples: int = Field(default=16, gt=0, description="noisy copies of each image")
    noise: float = Field(default=0.15, ge=0, description="standard deviation as a share of the image's range of values")
    seed: int = Field(default=0, description="seed of the noise")


@EXPLAINERS.register("smoothgrad", SmoothGradOptions)
class SmoothGrad(Explainer):
    """Largest absolute mean gradient over the channels; with one sample and no noise the plain gradient.

    Args:
        options: copies and noise.
    """

    def __init__(self, options: SmoothGradOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        with torch.no_grad():
            logits = classifier(images)
        values = images.flatten(1)
        spread = self.options.noise * (values.amax(dim=1) - values.amin(dim=1))
        scale = spread.view(-1, *[1] * (images.ndim - 1))
        generator = torch.Generator().manual_seed(self.options.seed)
        total = images.new_zeros(len(images), logits.shape[1], *images.shape[1:])
        for _ in range(self.options.samples):
            # One draw for all images: a map must not depend on the batch it was computed in.
            noise = torch.randn(images.shape[1:], generator=generator).to(images)
            with torch.enable_grad():
                noisy = (images + scale * noise).requires_grad_()
                total += label_gradients(classifier(noisy), noisy)
        return logits, (total / self.options.samples).abs().amax(dim=2)
