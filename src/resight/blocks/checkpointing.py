"""Activation checkpointing (Chen et al. 2016): long chains of blocks are trained in little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def run_checkpointed(blocks: nn.Sequential, images: Tensor) -> Tensor:
    """Run blocks in segments whose inner activations are computed again in the backward pass.

    With n blocks, segments of about sqrt(n) blocks keep about 2 sqrt(n) activations instead of n. Gradients and running
    statistics are those of an ordinary pass.
    """
    size = max(1, math.isqrt(len(blocks)))
    chain = list(blocks)
    for start in range(0, len(chain), size):
        segment = nn.Sequential(*chain[start : start + size])
        output = checkpoint(segment, images, use_reentrant=False, context_fn=partial(_contexts, segment))
        assert isinstance(output, Tensor)
        images = output
    return images


def _contexts(segment: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_untouched(segment)


@contextmanager
def _statistics_untouched(segment: nn.Module) -> Iterator[None]:
    """The second pass must not move running means a second time: a momentum of 0 leaves them where they are."""
    norms = [module for module in segment.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counters = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    counts = [counter.clone() for counter in counters]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for counter, count in zip(counters, counts, strict=True):
            counter.copy_(count)
