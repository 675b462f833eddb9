"""Occlusion: how much a logit falls when a window of the image is hidden (Zeiler & Fergus, ECCV 2014, section 4.2)."""

from __future__ import annotations

import itertools
from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps, filled, logits_in_parts
from resight.models import Classifier
from resight.settings import Options


class OcclusionOptions(Options):
    """Occlusion: no gradients, one forward pass a window."""

    window: float = Field(default=0.15, gt=0, le=1, description="side of the window as a share of the image's side")
    stride: float = Field(default=0.5, gt=0, le=1, description="step of the window as a share of the window")
    fill: Literal["mean", "image", "black"] = Field(default="image", description="what stands in the window")
    batch: int = Field(default=64, gt=0, description="images in one forward pass")


@EXPLAINERS.register("occlusion", OcclusionOptions)
class Occlusion(Explainer):
    """Fall of the logit, averaged over the windows that cover a pixel.

    Args:
        options: window, step and filling.
    """

    def __init__(self, options: OcclusionOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        logits = logits_in_parts(classifier, images, self.options.batch)
        hidden = filled(self.options.fill, classifier, images)
        fall = images.new_zeros(*logits.shape, *images.shape[2:])
        covered = images.new_zeros(images.shape[2:])
        windows = list(itertools.product(*map(self._positions, images.shape[2:])))
        for start in range(0, len(windows), per_pass := max(1, self.options.batch // len(images))):
            part = windows[start : start + per_pass]
            occluded = images.repeat(len(part), *[1] * (images.ndim - 1)).view(len(part), *images.shape)
            for copy, window in zip(occluded, part, strict=True):
                copy[(..., *window)] = hidden[(..., *window)]
            after = logits_in_parts(classifier, occluded.flatten(0, 1), self.options.batch).view(
                len(part), *logits.shape
            )
            for window, difference in zip(part, logits - after, strict=True):
                fall[(..., *window)] += difference[(..., *[None] * covered.ndim)]
                covered[window] += 1
        return logits, fall / covered

    def _positions(self, side: int) -> list[slice]:
        """Windows along one axis; the last may be cut so that every pixel is covered."""
        width = max(1, round(self.options.window * side))
        step = max(1, round(self.options.stride * width))
        return [slice(start, min(start + width, side)) for start in range(0, side - width + step, step)]
