"""RISE: the mean of random masks weighted by the prediction they allow (Petsiuk et al., BMVC 2018, equation 6)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps, filled, logits_in_parts
from resight.models import Classifier
from resight.settings import Options


class RISEOptions(Options):
    """RISE: no gradients, thousands of forward passes."""

    masks: int = Field(default=1000, gt=1, description="random masks")
    cells: int = Field(default=7, gt=0, description="cells of a mask along each side")
    keep: float = Field(default=0.5, gt=0, lt=1, description="probability that a cell is shown")
    fill: Literal["mean", "image", "black"] = Field(default="mean", description="what stands where the mask hides")
    batch: int = Field(default=64, gt=0, description="images in one forward pass")
    seed: int = Field(default=0, description="seed of the masks")


@EXPLAINERS.register("rise", RISEOptions)
class RISE(Explainer):
    """Expected logit where a pixel is shown, less the expected logit.

    The paper's map less a constant, the mean over all masks: logits, other than probabilities, have no natural zero.

    Args:
        options: masks and filling.
    """

    def __init__(self, options: RISEOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        options, space = self.options, images.shape[2:]
        hidden = filled(options.fill, classifier, images)
        generator = torch.Generator().manual_seed(options.seed)
        logits = logits_in_parts(classifier, images, options.batch)
        total, shown = torch.zeros_like(logits), images.new_zeros(space)
        weighted = images.new_zeros(*logits.shape, *space)
        per_pass = max(1, options.batch // len(images))
        for start in range(0, options.masks, per_pass):
            count = min(per_pass, options.masks - start)
            masks = self._sample(generator, count, tuple(space)).to(images)
            seen = hidden + masks[:, None, None] * (images - hidden)
            scores = logits_in_parts(classifier, seen.flatten(0, 1), options.batch).view(count, len(images), -1)
            weighted += torch.einsum("mbl,m...->bl...", scores, masks)
            shown += masks.sum(dim=0)
            total += scores.sum(dim=0)
        mean = (total / options.masks)[(..., *[None] * len(space))]
        return logits, (weighted - mean * shown) / (options.masks * options.keep)

    def _sample(self, generator: torch.Generator, count: int, space: tuple[int, ...]) -> Float[Tensor, "M *space"]:
        """Coarse random cells, enlarged smoothly and shifted by up to a cell (section 3.2 of the paper)."""
        cells, dims = self.options.cells, len(space)
        bits = (torch.rand(count, 1, *[cells] * dims, generator=generator) < self.options.keep).float()
        sides = [-(-side // cells) for side in space]
        shifts = [torch.randint(0, side, (count,), generator=generator).tolist() for side in sides]
        mode = {2: "bilinear", 3: "trilinear"}[dims]
        large = functional.interpolate(bits, size=[(cells + 1) * s for s in sides], mode=mode, align_corners=False)
        crops = [
            mask[tuple(slice(s, s + side) for s, side in zip(shift, space, strict=True))]
            for mask, shift in zip(large[:, 0], zip(*shifts, strict=True), strict=True)
        ]
        return torch.stack(crops)
