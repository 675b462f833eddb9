"""Batch normalisation and the images at hand: statistics taken anew, and batches too small to have any.

Source: Li et al., Pattern Recognition 2018, "Adaptive batch normalization", section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resight.errors import TrainingError
from resight.models import Classifier, autocast, channels_last
from resight.models.device import Precision
from resight.training.data import TrainingData, in_order


@torch.no_grad()
def adapt_norms(
    model: Classifier, data: TrainingData, *, batch_size: int, device: torch.device, precision: Precision = "fp32"
) -> None:
    """Replace running mean and variance of every batch normalisation by those of the given images.

    No label is looked at. A network without batch normalisation stays as it is; the model is in evaluation mode
    afterwards.

    Args:
        model: on the device.
        data: images like those the model will see; in order, each once.
        batch_size: images at a time; statistics are means over the batches.
        device: where the model is.
        precision: number format.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    model.train()
    with autocast(precision, device):
        for batch in in_order(data, batch_size=batch_size, device=device):
            model.stages(channels_last(batch.images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def needs_two_images(model: nn.Module, images: Shaped[Tensor, "B C *space"]) -> bool:
    """Whether a batch normalisation gets a single value per channel of one image, as from a last map of 1 x 1.

    Args:
        model: on the device; comes back in training mode if it was.
        images: of which the first is looked at.
    """
    single: list[bool] = []

    def look(_: nn.Module, given: tuple[Any, ...]) -> None:
        single.append(given[0].numel() == given[0].shape[1])

    hooks = [norm.register_forward_pre_hook(look) for norm in model.modules() if isinstance(norm, _BatchNorm)]
    was_training = model.training
    model.eval()(images[:1])
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return any(single)


@contextmanager
def naming_lone_images() -> Iterator[None]:
    """Turns PyTorch's refusal to normalise one value per channel into one clear error.

    Raises:
        TrainingError: a batch, or a part of it, holds one image whose map is a single value somewhere in the network.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            "a batch of one image, of which one value per channel is left, cannot be normalised",
            where="training.batch_size",
            expected="two images or more in every batch, in every process and in each of the parts of `accumulate`",
            fix="Change batch_size, train on more images, or enlarge recipe.size_px.",
        ) from error
