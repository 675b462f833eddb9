"""Feature distillation: a network learns, without labels, to give what a teacher's features are for the same image.

Sources: regression on a teacher's features through a linear layer, Romero et al., ICLR 2015 (FitNets), section 2.2;
teacher and student shown the same view, and patience, Beyer et al., CVPR 2022, section 3.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from resight.errors import TrainingError
from resight.models import Classifier, autocast, channels_last, choose_device, view, with_channels_last
from resight.models.device import Precision
from resight.preprocess import Augmentation
from resight.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from resight.training.data import Reader, TrainingData, epoch_order, in_order
from resight.training.options import TrainingOptions
from resight.training.precision import choose_precision
from resight.training.schedule import AveragedWeights, build_optimizer, learning_rate
from resight.types import Progress, silent

Features = Float[np.ndarray, "N V F"]
"""Features of N samples in V views."""
_LEAST_SPREAD = 1e-6
"""Features that spread less over the samples say nothing and are not asked for."""


@dataclass
class Distillation:
    """What came of it; also the state that a checkpoint keeps.

    Attributes:
        epoch: epochs done.
        seconds: training time, all resumed parts together.
        unexplained: per epoch the share of the teacher's variance that the student misses.
        precision: number format; None before the first step.
    """

    epoch: int = 0
    seconds: float = 0.0
    unexplained: list[float] = field(default_factory=list)
    precision: Precision | None = None


def view_features(
    model: Classifier, data: TrainingData, *, n_views: int, batch_size: int, device: torch.device, precision: Precision
) -> Features:
    """Features of every sample in the first views of `models.view`, in evaluation mode."""
    model.eval()
    features = np.empty((len(data), n_views, model.backbone.feature_dim), dtype=np.float32)
    with torch.inference_mode(), autocast(precision, device):
        for batch in in_order(data, batch_size=batch_size, device=device):
            for number in range(n_views):
                found = model.features(channels_last(view(batch.images, number)))
                features[batch.samples.numpy(), number] = found.float().cpu().numpy()
    return features


def distil(
    student: Classifier,
    teacher: Features,
    data: TrainingData,
    options: TrainingOptions,
    *,
    folder: Path,
    augmentation: Augmentation | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Distillation:
    """Teach the backbone of `student`; its head is left as it was.

    Each sample is shown in one of the teacher's views, drawn anew every epoch, and changed by the augmentation; the
    teacher's features of that view, each brought to mean 0 and variance 1, are regressed on the student's through a
    linear layer that is thrown away afterwards.

    Args:
        student: afterwards holds the moving average of its weights.
        teacher: features of each sample of `data`, in the first V views of `models.view`.
        data: samples to learn from; their targets are not looked at.
        options: epochs, optimiser, schedule, precision, seed; what concerns labels has no effect.
        folder: where `distilled.safetensors` is kept, once an epoch.
        augmentation: applied before the view; should change little that the teacher would answer differently to.
        resume: continue from that file if it is there.
        progress: told after every step.

    Raises:
        TrainingError: no samples, features of other samples, a loss that is not finite.
        OutputError: the checkpoint cannot be written.
    """
    if not len(data) or teacher.shape[0] != len(data):
        raise TrainingError(f"features of {teacher.shape[0]} samples", where="distil", expected=f"{len(data)} samples")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device, where="training.device")
    torch.manual_seed(options.seed)
    learner = with_channels_last(_Learner(student, teacher.shape[2]).to(device))
    optimizer = build_optimizer(learner, options)
    average = AveragedWeights(learner, options.ema_decay)
    path, state = folder / "distilled.safetensors", Distillation()
    if resume and path.exists():
        state = _restore(path, learner, optimizer, average)
    targets, spread = _standardised(teacher)
    if state.precision is None:
        first = next(in_order(data, batch_size=options.batch_size, device=device))
        state.precision = choose_precision(student, first.images, options, device)
    steps = -(-len(data) // options.batch_size)
    reader = Reader(
        data,
        batch_size=options.batch_size,
        device=device,
        augmentation=augmentation,
        seed=options.seed,
        workers=options.workers,
    )
    while state.epoch < options.epochs:
        begin, squares = time.monotonic(), 0.0
        shown = np.random.default_rng((options.seed, 3, state.epoch)).integers(teacher.shape[1], size=len(data))
        order = epoch_order(len(data), options.seed, state.epoch)
        learner.train()
        for step, batch in enumerate(reader.batches(order, epoch=state.epoch)):
            number = state.epoch * steps + step
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(options, number, steps)
            rows = batch.samples.numpy()
            images = _laid(batch.images, shown[rows])
            wanted = torch.from_numpy(targets[rows, shown[rows]]).to(device)
            with autocast(state.precision, device):
                answer = learner(channels_last(images))
            loss = (answer.float() - wanted).square().mean()
            if not torch.isfinite(loss):
                fix = "Lower the learning rate, or set precision to fp32."
                raise TrainingError(f"the loss is not finite in epoch {state.epoch + 1}", where=str(folder), fix=fix)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if options.clip_norm:
                nn.utils.clip_grad_norm_(learner.parameters(), options.clip_norm)
            optimizer.step()
            average.update(learner)
            squares += float(loss.detach()) * len(rows)
            done = f"epoch {state.epoch + 1}/{options.epochs}, loss {float(loss.detach()):.3f}"
            progress("distil", number + 1, options.epochs * steps, done)
        state.epoch += 1
        state.seconds += time.monotonic() - begin
        state.unexplained.append(squares / len(data) / spread)
        _save(path, learner, optimizer, average, state)
    learner.load_state_dict(average.tensors)
    return state


class _Learner(nn.Module):
    def __init__(self, student: Classifier, feature_dim: int) -> None:
        super().__init__()
        self.student = student
        self.to_teacher = nn.Linear(student.backbone.feature_dim, feature_dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.to_teacher(self.student.features(images))


def _standardised(teacher: Features) -> tuple[Features, float]:
    """Features with mean 0 and variance 1 over samples and views, and the share of features that vary at all."""
    flat = teacher.reshape(-1, teacher.shape[2])
    spread = flat.std(axis=0)
    varies = spread > _LEAST_SPREAD
    scaled = (teacher - flat.mean(axis=0)) / np.where(varies, spread, 1.0)
    return np.where(varies, scaled, 0.0).astype(np.float32), float(varies.mean())


def _laid(images: Tensor, views: Sequence[int] | Int[np.ndarray, " B"]) -> Tensor:
    return torch.stack([view(image, int(number)) for image, number in zip(images, views, strict=True)])


def _save(
    path: Path, learner: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedWeights, state: Distillation
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in learner.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(optimizer).items()}
    save_checkpoint(path, tensors, {**asdict(state), "average_steps": average.steps})


def _restore(
    path: Path, learner: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedWeights
) -> Distillation:
    tensors, state = load_checkpoint(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    try:
        learner.load_state_dict(parts["model"])
    except RuntimeError as error:
        fix = "Resume with the settings it began with."
        raise TrainingError("the checkpoint belongs to another network", where=str(path), fix=fix) from error
    restore_optimizer(optimizer, parts["optimizer"])
    average.tensors, average.steps = parts["average"], state.pop("average_steps")
    return Distillation(**state)
