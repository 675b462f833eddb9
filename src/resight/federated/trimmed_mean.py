"""Coordinate-wise trimmed mean (Yin et al., ICML 2018, definition 2): the extremes of every coordinate do not count."""

from __future__ import annotations

from pydantic import Field

from resight.federated.aggregate import Tensors, stack, trimmed_mean
from resight.federated.base import STRATEGIES, Strategy, Updates
from resight.federated.messages import Arrays
from resight.settings import Options


class TrimmedMeanOptions(Options):
    """Mean of the updates without the lowest and highest values of each coordinate; sites count alike."""

    share: float = Field(default=0.2, ge=0, lt=0.5, description="share of the sites left out at each end")


@STRATEGIES.register("trimmed_mean", TrimmedMeanOptions)
class TrimmedMean(Strategy):
    """Robust to a known share of sites that send anything at all."""

    options: TrimmedMeanOptions
    needs_each = True

    def combine(self, shared: Arrays, updates: Updates) -> Tensors:
        """Shared weights plus the trimmed mean update."""
        share, stacked = self.options.share, stack(updates.each)
        return {
            name: (array + trimmed_mean(stacked[name], share)).astype(array.dtype) for name, array in shared.items()
        }
