"""Several classifiers that answer as one (Lakshminarayanan et al. 2017, section 2.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from resight.models.classifier import Classifier, Images, Table
from resight.types import Task

Combination = Literal["mean_logits", "mean_probabilities"]


class Ensemble(nn.Module):
    """Logits of several classifiers, averaged.

    Args:
        members: classifiers of the same labels.
        combination: `mean_logits`, or `mean_probabilities` given back as logits, so that calibration follows either.
        task: decides what a probability is.
    """

    def __init__(self, members: Sequence[Classifier], combination: Combination, task: Task) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.combination: Combination = combination
        self.task: Task = task

    def forward(self, images: Images, table: Table | None = None) -> Float[Tensor, "B L"]:
        """Logits, one per label.

        Args:
            images: `(B, C, *space)`, `uint8` or floats, 0 to 255.
            table: encoded clinical columns `(B, T)`, where the members read some.
        """
        logits = torch.stack([member(images, table).float() for member in self.members])
        if self.combination == "mean_logits":
            return logits.mean(dim=0)
        if self.task == "multiclass":
            return functional.log_softmax(logits, dim=-1).logsumexp(dim=0) - math.log(len(self.members))
        return functional.logsigmoid(logits).logsumexp(dim=0) - functional.logsigmoid(-logits).logsumexp(dim=0)
