"""Coordinate-wise median (Yin et al., ICML 2018, definition 1): fewer than half of the sites cannot move it far."""

from __future__ import annotations

from resight.federated.aggregate import Tensors, median, stack
from resight.federated.base import STRATEGIES, Strategy, Updates
from resight.federated.messages import Arrays
from resight.settings import Options


class MedianOptions(Options):
    """Median of the sites' updates, coordinate by coordinate; sites count alike."""


@STRATEGIES.register("median", MedianOptions)
class Median(Strategy):
    """Robust to sites that send anything at all."""

    needs_each = True

    def combine(self, shared: Arrays, updates: Updates) -> Tensors:
        """Shared weights plus the median update."""
        stacked = stack(updates.each)
        return {name: (array + median(stacked[name])).astype(array.dtype) for name, array in shared.items()}
