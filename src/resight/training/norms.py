"""Batch normalisation that knows the images at hand: statistics taken anew, everything else as it was.

Source: Li et al., Pattern Recognition 2018, "Adaptive batch normalization", section 3.2.
"""

from __future__ import annotations

import torch
from torch import nn

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
