"""What the class activation maps share: a stage's feature map, and the gradient of every logit with respect to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from resight.errors import SettingsError
from resight.explain.base import Logits, Maps, label_gradients
from resight.models import Classifier
from resight.settings import Options

_LINEAR = {2: "bilinear", 3: "trilinear"}


class StageOptions(Options):
    """Which feature map is read."""

    stage: int = Field(default=-1, description="stage of the backbone: 0 the finest, -1 the last")


@dataclass(frozen=True)
class StageEvidence:
    """One stage of the network and how each logit depends on it.

    Attributes:
        logits: `(B, L)`.
        activations: `(B, K, *map)`.
        gradients: `(B, L, K, *map)`; of size 1 in space where they are the same everywhere.
    """

    logits: Logits
    activations: Float[Tensor, "B K *map"]
    gradients: Float[Tensor, "B L K *map"]


def stage_evidence(classifier: Classifier, images: Float[Tensor, "B C *space"], stage: int) -> StageEvidence:
    """Run the classifier once and differentiate no deeper than the stage.

    At the last stage only the head is differentiated. Where that stage is pooled by its mean, the gradient of a logit
    is the head's Jacobian divided by the number of pixels, for a linear head simply its weights: all labels cost one
    forward pass.

    Raises:
        SettingsError: the backbone has no such stage, or no gradient reaches it.
    """
    count = len(classifier.backbone.stage_dims)
    if not -count <= stage < count:
        expected = f"{-count} to {count - 1}"
        raise SettingsError(f"stage = {stage}", where=type(classifier.backbone).__name__, expected=expected)
    if stage % count < count - 1:
        if not classifier.backbone.stages_are_a_chain:
            where = type(classifier.backbone).__name__
            raise SettingsError(f"stage = {stage}: no gradient reaches it", where=where, expected="-1, the last stage")
        with torch.enable_grad():
            maps = classifier.stages(images.requires_grad_())  # also where all weights are frozen
            logits = classifier.conclude(maps[-1])
            return StageEvidence(logits, maps[stage].detach(), label_gradients(logits, maps[stage]))

    with torch.no_grad():
        last = classifier.stages(images)[-1]
    with torch.enable_grad():
        if classifier.pools_by_mean:
            features = classifier.backbone.pool(last).requires_grad_()
            logits = classifier.answer(features)
            jacobian = label_gradients(logits, features)
            pixels = last[0, 0].numel()
            return StageEvidence(logits, last, (jacobian / pixels)[(..., *[None] * (last.ndim - 2))])
        logits = classifier.conclude(last.requires_grad_())
        return StageEvidence(logits, last.detach(), label_gradients(logits, last))


def enlarged(maps: Float[Tensor, "B L *map"], images: Float[Tensor, "B C *space"]) -> Maps:
    """Maps of a stage interpolated to the grid of the images; both grids cover the same field of view."""
    dims = images.ndim - 2
    return functional.interpolate(maps, size=images.shape[2:], mode=_LINEAR[dims], align_corners=False)
