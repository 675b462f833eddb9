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
    """The second pass must not move the running means a second time."""
    norms = [m for m in segment.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
