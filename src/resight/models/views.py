"""The eight ways to lay an image on its grid, and a network that answers with the mean over them.

Averaging over views at test time: Krizhevsky et al. 2012, section 4.1; the views are the dihedral group of the square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from resight.models.classifier import Images

N_VIEWS: Final = 8


def view(images: Images, number: int) -> Images:
    """The same images mirrored and turned; the first four views are mirrorings and fit any image.

    Args:
        images: `(B, C, H, W)`; square for views from 4 on.
        number: 0 as it is, 1 left and right swapped, 2 top and bottom, 3 both (half a turn), 4 to 7 the same of the
            image with rows and columns swapped.
    """
    laid = images.transpose(-2, -1) if number >= 4 else images
    axes = [axis for axis, bit in ((-1, 1), (-2, 2)) if number & bit]
    return laid.flip(axes) if axes else laid


class AveragedViews(nn.Module):
    """Logits of a network, averaged over views of each image: for lesions and cells, which have no upright position.

    Args:
        network: images `(B, C, H, W)` to logits `(B, L)`.
        views: numbers of the views.
    """

    def __init__(self, network: nn.Module, views: Sequence[int] = range(N_VIEWS)) -> None:
        super().__init__()
        self.network = network
        self.views = tuple(views)

    def forward(self, images: Images) -> Float[Tensor, "B L"]:
        """Mean logits.

        Args:
            images: `(B, C, H, W)`, square where views from 4 on are taken.
        """
        each = [self.network(view(images, number).contiguous()).float() for number in self.views]
        return torch.stack(each).mean(dim=0)
