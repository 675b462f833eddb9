"""What a network says of images it does not learn from, and how well it ranks them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from resight.evaluation import auroc
from resight.models import autocast, channels_last
from resight.models.device import Precision
from resight.training.data import TrainingData, in_order
from resight.types import Scores


def predict_logits(
    model: nn.Module,
    data: TrainingData,
    *,
    batch_size: int,
    device: torch.device,
    precision: Precision = "fp32",
) -> Scores:
    """Logits `(N, L)` of every sample, in order, in evaluation mode."""
    model.eval()
    logits = np.empty(data.targets.shape)
    with torch.inference_mode(), autocast(precision, device):
        for batch in in_order(data, batch_size=batch_size, device=device):
            inputs = (channels_last(batch.images), *([] if batch.table is None else [batch.table]))
            logits[batch.samples.numpy()] = model(*inputs).float().cpu().numpy()
    return logits


def macro_auroc(scores: Scores, data: TrainingData) -> float:
    """Mean over the labels that have both classes among the known images; NaN where none has."""
    columns = zip(data.targets.T, scores.T, data.mask.T, strict=True)
    values = [auroc(target[known] > 0.5, score[known]).value for target, score, known in columns]
    estimable = [value for value in values if not np.isnan(value)]
    return float(np.mean(estimable)) if estimable else float("nan")
