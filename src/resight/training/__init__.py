"""Training: data in batches, losses, schedule, the loop, checkpoints."""

from resight.training.base import LOSSES, OBJECTIVES, Loss, Objective
from resight.training.loop import FitResult, fit
from resight.training.options import TrainingOptions
from resight.training.validate import predict_logits

__all__ = ["LOSSES", "OBJECTIVES", "FitResult", "Loss", "Objective", "TrainingOptions", "fit", "predict_logits"]
