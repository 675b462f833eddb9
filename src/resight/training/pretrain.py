"""Pretraining without labels: two views of an image shall have like features (SimSiam, Chen & He, CVPR 2021).

Projection and prediction layers are those of the paper's CIFAR-10 experiment (appendix D): two layers each, batch
normalisation in every one but the last of the prediction. They are thrown away afterwards; the backbone stays.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from resight.errors import SettingsError, TrainingError
from resight.models import Classifier, autocast, channels_last, choose_device, with_channels_last
from resight.models.device import Precision
from resight.preprocess import Augmentation
from resight.training.data import Reader, TrainingData, epoch_order, in_order
from resight.training.learner import restore_learner, save_learner
from resight.training.options import TrainingOptions
from resight.training.precision import choose_precision
from resight.training.schedule import AveragedWeights, build_optimizer, learning_rate
from resight.types import Progress, silent

CHECKPOINT = "pretraining.safetensors"
_SECOND_VIEW = 1_000_003
"""Added to the seed, so that the second view of a sample is drawn apart from the first."""
_BOTTLENECK = 4
"""The prediction's hidden layer is this much narrower than the features, as in the paper."""


@dataclass
class Pretraining:
    """What came of it; also the state that a checkpoint keeps.

    Attributes:
        epoch: epochs done.
        seconds: training time, all resumed parts together.
        similarity: per epoch the mean cosine between the prediction from one view and the other view; 1 is perfect.
        spread: per epoch the standard deviation of unit-length projections over a batch, times the root of their
            number: near 1 where images stay apart, 0 where all became the same (the collapse; section 4.1, figure 2).
        precision: number format; None before the first step.
    """

    epoch: int = 0
    seconds: float = 0.0
    similarity: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    precision: Precision | None = None


def pretrain(
    model: Classifier,
    data: TrainingData,
    options: TrainingOptions,
    *,
    folder: Path,
    augmentation: Augmentation,
    resume: bool = False,
    progress: Progress = silent,
) -> Pretraining:
    """Teach the backbone of `model` without labels; its head is left as it was.

    Args:
        model: afterwards holds the moving average of its weights.
        data: samples to learn from; their targets are not looked at. The last, smaller batch of an epoch is left out,
            as normalisation within a batch needs its size.
        options: epochs, optimiser, schedule, precision, seed; what concerns labels has no effect.
        folder: where the checkpoint is kept, once an epoch.
        augmentation: what the features shall not depend on; must change something.
        resume: continue from the checkpoint if it is there.
        progress: told after every step.

    Raises:
        SettingsError: the augmentation changes nothing.
        TrainingError: fewer than 2 samples, a loss that is not finite, a checkpoint of another network.
        OutputError: the checkpoint cannot be written.
    """
    if augmentation == Augmentation():
        fix = "Set for example augmentation.crop=0.4, gain=0.3 and flip=0.5."
        raise SettingsError("two views of an image would be the same", where="augmentation", fix=fix)
    size = min(options.batch_size, len(data))
    if size < 2:
        raise TrainingError(f"batches of {size}", where="pretrain", expected="at least 2 images to tell apart")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device, where="training.device")
    torch.manual_seed(options.seed)
    learner = with_channels_last(_Learner(model).to(device))
    optimizer = build_optimizer(learner, options)
    average = AveragedWeights(learner, options.ema_decay)
    path, state = folder / CHECKPOINT, Pretraining()
    if resume and path.exists():
        state = Pretraining(**restore_learner(path, learner, optimizer, average))
    if state.precision is None:
        first = next(in_order(data, batch_size=size, device=device))
        state.precision = choose_precision(model, first.images, options, device)
    readers = [
        Reader(data, batch_size=size, device=device, augmentation=augmentation, seed=seed, workers=options.workers)
        for seed in (options.seed, options.seed + _SECOND_VIEW)
    ]
    steps = len(data) // size
    while state.epoch < options.epochs:
        begin, similar, spread = time.monotonic(), 0.0, 0.0
        order = epoch_order(len(data), options.seed, state.epoch)[: steps * size]
        learner.train()
        pairs = zip(*(reader.batches(order, epoch=state.epoch) for reader in readers), strict=True)
        for step, (one, other) in enumerate(pairs):
            number = state.epoch * steps + step
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(options, number, steps)
            with autocast(state.precision, device):
                first, second = (learner(channels_last(batch.images)) for batch in (one, other))
            loss = 0.5 * (_apart(first[1], second[0]) + _apart(second[1], first[0]))
            if not torch.isfinite(loss):
                fix = "Lower the learning rate, or set precision to fp32."
                raise TrainingError(f"the loss is not finite in epoch {state.epoch + 1}", where=str(folder), fix=fix)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if options.clip_norm:
                nn.utils.clip_grad_norm_(learner.parameters(), options.clip_norm)
            optimizer.step()
            average.update(learner)
            similar -= float(loss.detach()) / steps
            spread += _spread(first[0]) / steps
            done = f"epoch {state.epoch + 1}/{options.epochs}, similarity {-float(loss.detach()):.3f}"
            progress("pretrain", number + 1, options.epochs * steps, done)
        state.epoch += 1
        state.seconds += time.monotonic() - begin
        state.similarity.append(similar)
        state.spread.append(spread)
        save_learner(path, learner, optimizer, average, asdict(state))
    learner.load_state_dict(average.tensors)
    return state


class _Learner(nn.Module):
    """Projection and prediction of a view."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        width = model.backbone.feature_dim
        self.model = model
        self.project = nn.Sequential(
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
        )
        narrow = max(1, width // _BOTTLENECK)
        self.predict = nn.Sequential(
            nn.Linear(width, narrow, bias=False),
            nn.BatchNorm1d(narrow),
            nn.ReLU(inplace=True),
            nn.Linear(narrow, width),
        )

    def forward(self, images: Tensor) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B F"]]:
        projected = self.project(self.model.features(images))
        return projected, self.predict(projected)


def _apart(predicted: Float[Tensor, "B F"], projected: Float[Tensor, "B F"]) -> Float[Tensor, ""]:
    """Negative cosine; nothing flows back through the projection, without which all images become one point."""
    return -functional.cosine_similarity(predicted.float(), projected.detach().float(), dim=1).mean()


def _spread(projected: Float[Tensor, "B F"]) -> float:
    unit = functional.normalize(projected.detach().float(), dim=1)
    return float(unit.std(dim=0).mean()) * projected.shape[1] ** 0.5
