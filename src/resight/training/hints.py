"""Learning from labels and, at the same time, from what a teacher sees in the very same view of each image.

Sources: regression on a teacher's features through a linear layer, Romero et al., ICLR 2015 (FitNets), section 2.2;
teacher and student shown the same view, however it was changed, Beyer et al., CVPR 2022, section 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.backbones.efficientnet_lite import LITE0_MEAN, LITE0_SHA256, LITE0_STD, lite0_weights
from resight.errors import SettingsError
from resight.models import Classifier, ModelOptions, build_classifier, channels_last, load_bundle
from resight.models.classifier import Images
from resight.settings import Options
from resight.training.base import OBJECTIVES, Loss, Objective
from resight.training.data import Batch, TrainingData, in_order
from resight.training.supervised import answers, total_loss

LITE0: Final = "lite0"
_TINY: Final = 1e-6
"""Keeps a teacher whose features do not vary at all from dividing by 0."""
_MEASURED_IMAGES: Final = 1024
"""Enough to know mean and spread of a feature within a few per cent."""


class HintOptions(Options):
    """The mean loss over all samples, and the features of a teacher that is shown the same views."""

    teacher: str = Field(
        default=LITE0, description="folder of a model, or lite0: EfficientNet-Lite0 with ImageNet weights"
    )
    weight: float = Field(default=1.0, gt=0, description="of the teacher's features beside the labels")
    size_px: int = Field(default=0, ge=0, description="side of the images the teacher sees; 0: as the student's")


@OBJECTIVES.register("hints", HintOptions)
class Hints(Objective):
    """Loss of the labels plus the mean squared error of the teacher's features, each at mean 0 and variance 1.

    Features that vary less than half of the others are scaled as the median one: those that are nearly always 0 would
    otherwise outweigh all others on the few changed images where they are not.

    A linear layer leads from the student's features to the teacher's; it is trained along and thrown away afterwards.

    Attributes:
        to_teacher: that layer.
        shift: mean of each of the teacher's features over the training images.
        scale: one over their standard deviation, or over the median of these where that is larger.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, options: HintOptions, *, loss: Loss, model: nn.Module, train: TrainingData) -> None:
        super().__init__()
        if not isinstance(model, Classifier):
            raise SettingsError("hints need a classifier with a backbone", where="training.objective")
        self.loss, self.options = loss, options
        teacher = (
            build_teacher(options.teacher, channels=train.store[int(train.rows[0])].shape[0])
            .eval()
            .requires_grad_(False)
        )
        device = next(model.parameters()).device
        self._teacher = (teacher.to(device),)  # in a tuple: neither trained nor written into checkpoints
        wanted = teacher.backbone.feature_dim
        self.to_teacher = nn.Linear(model.backbone.feature_dim, wanted)
        mean, spread = self._measured(train, device)
        self.register_buffer("shift", mean)
        self.register_buffer("scale", 1 / torch.maximum(spread, spread.median()).clamp(min=_TINY))

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        found = answers(model, batch)
        return total_loss(self.loss, found, batch) + self.options.weight * self.unexplained(found.features, batch)

    def unexplained(self, features: Float[Tensor, "B F"] | None, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the teacher's scaled features; at most 1 for a student that only knows their means."""
        assert features is not None
        wanted = (self._seen(batch.images) - self.shift) * self.scale
        return (self.to_teacher(features).float() - wanted).square().mean()

    @torch.no_grad()
    def _seen(self, images: Images) -> Float[Tensor, "B T"]:
        size = self.options.size_px
        if size and images.shape[-1] != size:
            images = functional.interpolate(
                images.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )
        return self._teacher[0].features(channels_last(images)).float()

    def _measured(self, train: TrainingData, device: torch.device) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        for batch in in_order(train, batch_size=32, device=device):
            seen.append(self._seen(batch.images))
            if len(seen) * 32 >= _MEASURED_IMAGES:
                break
        features = torch.cat(seen)
        return features.mean(dim=0), features.std(dim=0)


def build_teacher(name: str, channels: int, labels: tuple[str, ...] = ("unused",)) -> Classifier:
    """The teacher of that name.

    Args:
        name: `lite0`, or the folder of a model.
        channels: channels of the images; ImageNet weights are summed for grey ones.
        labels: of a fresh head, where the teacher is to be trained itself.

    Raises:
        DependencyError: the extra `lite0` is not installed.
        BundleError: there is no such model, or it is an ensemble.
    """
    if name != LITE0:
        model = load_bundle(Path(name)).model
        if not isinstance(model, Classifier):
            raise SettingsError("a teacher must be one network", where=name, fix="Give one of its members.")
        return model
    options = ModelOptions(
        backbone={"name": "efficientnet_lite"},
        weights=lite0_weights(),
        weights_sha256=LITE0_SHA256,
        mean=(LITE0_MEAN,),
        std=(LITE0_STD,),
    )
    return build_classifier(options, labels=labels, channels=channels, dims=2)
