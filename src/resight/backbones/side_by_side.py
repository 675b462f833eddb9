"""One backbone for each image of a patient; their maps stand side by side (late fusion)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from resight.backbones.base import Backbone, StageMap


class SideBySide(Backbone):
    """Backbones of the same kind, each on its share of the channels; what is 0 everywhere gives maps of 0.

    Args:
        parts: one for each image, in the order of the channels.
    """

    def __init__(self, parts: Sequence[Backbone]) -> None:
        count, first = len(parts), parts[0]
        super().__init__(
            stage_dims=tuple(count * dim for dim in first.stage_dims), feature_dim=count * first.feature_dim
        )
        self.parts = nn.ModuleList(parts)
        self.min_size_px, self.pools_by_mean = first.min_size_px, first.pools_by_mean

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """The features of all parts, side by side."""
        shares = last.chunk(len(self.parts), dim=1)
        return torch.cat([part.pool(share) for part, share in zip(self._parts(), shares, strict=True)], dim=1)

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """The features as they are."""
        return features

    def _stages(self, images: Float[Tensor, "B C *space"]) -> tuple[StageMap, ...]:
        each: list[list[Tensor]] = []
        for part, share in zip(self._parts(), images.chunk(len(self.parts), dim=1), strict=True):
            there = (share.flatten(1) != 0).any(dim=1)
            each.append([found * there.view(-1, *[1] * (found.ndim - 1)) for found in part.stages(share)])
        return tuple(torch.cat(maps, dim=1) for maps in zip(*each, strict=True))

    def _parts(self) -> Sequence[Backbone]:
        return [part for part in self.parts if isinstance(part, Backbone)]
