"""What a network says of images it does not learn from, and how well it ranks them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from resight.evaluation import auroc
from resight.models import Classifier, autocast, channels_last, view
from resight.models.device import Precision
from resight.training.data import Reader, TrainingData, in_order
from resight.training.distributed import gathered, ranks
from resight.types import Scores

Features = Float[np.ndarray, "N V F"]
"""Features of N samples in V views."""


def predict_logits(
    model: nn.Module,
    data: TrainingData,
    *,
    batch_size: int,
    device: torch.device,
    precision: Precision = "fp32",
) -> Scores:
    """Logits `(N, L)` of every sample, in order, in evaluation mode; several processes share the work."""
    model.eval()
    mine = ranks()
    reader = Reader(data, batch_size=batch_size * mine.world, device=device, share=(mine.rank, mine.world))
    rows: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    with torch.inference_mode(), autocast(precision, device):
        for batch in reader.batches(np.arange(len(data))):
            inputs = (channels_last(batch.images), *([] if batch.table is None else [batch.table]))
            rows.append(batch.samples)
            values.append(model(*inputs).float().cpu())
    return gathered(torch.cat(values), torch.cat(rows), len(data)).double().numpy()


def view_features(
    model: Classifier,
    data: TrainingData,
    *,
    n_views: int,
    batch_size: int,
    device: torch.device,
    precision: Precision,
    stage: int = -1,
) -> Features:
    """Features of every sample in the first views of `models.view`, in evaluation mode.

    Args:
        model: on the device.
        data: the samples.
        n_views: how many views.
        batch_size: images at a time.
        device: where the model is.
        precision: number format.
        stage: whose map is averaged over space, counted as `model.stages` gives them; the last is what the head takes.
    """
    model.eval()
    features: Features | None = None
    with torch.inference_mode(), autocast(precision, device):
        for batch in in_order(data, batch_size=batch_size, device=device):
            for number in range(n_views):
                found = model.stages(channels_last(view(batch.images, number)))[stage]
                pooled = model.backbone.pool(found) if stage == -1 else found.mean(dim=tuple(range(2, found.ndim)))
                if features is None:
                    features = np.empty((len(data), n_views, pooled.shape[1]), dtype=np.float32)
                features[batch.samples.numpy(), number] = pooled.float().cpu().numpy()
    return np.empty((0, n_views, 0), dtype=np.float32) if features is None else features


def macro_auroc(scores: Scores, data: TrainingData) -> float:
    """Mean over the labels that have both classes among the known images; NaN where none has."""
    columns = zip(data.targets.T, scores.T, data.mask.T, strict=True)
    values = [auroc(target[known] > 0.5, score[known]).value for target, score, known in columns]
    estimable = [value for value in values if not np.isnan(value)]
    return float(np.mean(estimable)) if estimable else float("nan")
