"""The usual objective: the loss of the logits, of side branches, and what the network itself adds."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from resight.models import Answers, Classifier, channels_last
from resight.settings import Options
from resight.training.base import OBJECTIVES, Loss, Objective
from resight.training.data import Batch, TrainingData


class SupervisedOptions(Options):
    """The mean loss over all samples (empirical risk)."""


@OBJECTIVES.register("supervised", SupervisedOptions)
class Supervised(Objective):
    """Mean loss of the logits, plus the weighted losses of side branches and the network's own penalty."""

    def __init__(self, options: SupervisedOptions, *, loss: Loss, model: nn.Module, train: TrainingData) -> None:
        super().__init__()
        del options, model, train
        self.loss = loss

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        found = answers(model, batch)
        return total_loss(self.loss, found, batch)


def answers(model: nn.Module, batch: Batch) -> Answers:
    """What a network says while it is trained; a module that is no `Classifier` gives logits alone."""
    images = channels_last(batch.images)
    return model.answers(images, batch.table) if isinstance(model, Classifier) else Answers(model(images))


def total_loss(loss: Loss, found: Answers, batch: Batch) -> Float[Tensor, ""]:
    """Loss of the logits and of the side branches, and the penalty, in `float32`."""
    total = loss(found.logits.float(), batch.targets, batch.mask)
    for logits, weight in found.auxiliary:
        total = total + weight * loss(logits.float(), batch.targets, batch.mask)
    return total if found.penalty is None else total + found.penalty.float()
