"""Training: data in batches, losses, schedule, the loop, checkpoints."""

from resight.training.base import LOSSES, Loss
from resight.training.loop import FitResult, fit, predict_logits
from resight.training.options import TrainingOptions

__all__ = ["LOSSES", "FitResult", "Loss", "TrainingOptions", "fit", "predict_logits"]
