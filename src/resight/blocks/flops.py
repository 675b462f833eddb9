"""Floating-point operations of convolutions and dense layers, counted where they are done; a multiply-add is two."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from resight.blocks.acs import ACSConv

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, ACSConv, nn.Linear)


@contextmanager
def counting_flops(module: nn.Module) -> Iterator[Counter[str]]:
    """Count what the layers of a module do meanwhile.

    Normalisation, activations and pooling are left out, as `torch.utils.flop_counter` does. A layer that is not called
    counts nothing, so that work which was skipped is not counted either.

    Yields:
        Operations by name of the layer; growing while the module works.
    """
    counts: Counter[str] = Counter()
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, _COUNTED)]
    hooks = [layer.register_forward_hook(partial(_count, counts, name)) for name, layer in layers]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _count(counts: Counter[str], name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """One output value takes as many multiply-adds as a row of the weight matrix has entries."""
    del inputs
    weight = layer.weight
    assert isinstance(weight, Tensor)
    counts[name] += 2 * output.numel() * math.prod(weight.shape[1:])
