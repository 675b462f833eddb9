"""The promise of a fusion: where in the network a table meets the image."""

from __future__ import annotations

from abc import ABC
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from resight.registry import Registry

Map = Float[Tensor, "B F *space"]
Features = Float[Tensor, "B F"]
Table = Float[Tensor, "B T"]
Logits = Float[Tensor, "B L"]


class Fusion(nn.Module, ABC):
    """Base of all fusions: the three places where a table can act; a member overrides the one it is about.

    Attributes:
        acts_on_map: whether `modulate` does anything, so that a map of the image alone is not what is pooled.
    """

    acts_on_map: bool = False

    def modulate(self, last: Map, table: Table) -> Map:
        """The last feature map, as the table changes it."""
        del table
        return last

    def join(self, features: Features, table: Table) -> Features:
        """What the head takes, of pooled features and table; as many features as before."""
        del table
        return features

    def add(self, logits: Logits, table: Table) -> Logits:
        """The answer, of the head's answer and the table."""
        del table
        return logits


class FusionBuilder(Protocol):
    """Builds a fusion; `options` is an instance of the class the member was registered with.

    Weights are drawn from torch's global generator.
    """

    def __call__(self, options: Any, /, *, feature_dim: int, table_dim: int, n_labels: int) -> Fusion:
        """Build the fusion with freshly drawn weights."""
        ...


FUSIONS: Registry[FusionBuilder] = Registry("fusion", "resight.multimodal")


def two_layers(inputs: int, hidden: int, outputs: int, *, start_at_zero: bool = False) -> nn.Sequential:
    """A hidden layer and an output layer, which may start as a constant 0."""
    last = nn.Linear(hidden, outputs)
    if start_at_zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last)
