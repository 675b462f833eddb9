"""The training loop: steps, validation by AUROC, checkpoints, and the same bits again after a kill."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from resight.errors import TrainingError
from resight.models import autocast, choose_device, with_channels_last
from resight.models.device import Precision
from resight.predictions import scores_of
from resight.preprocess import Augmentation
from resight.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from resight.training.data import (
    Batch,
    Reader,
    TrainingData,
    batch_starts,
    epoch_order,
    in_order,
    naming_dead_workers,
)
from resight.training.distributed import as_the_leader, averaging, ranks, stepper, summed, wait_for_all
from resight.training.norms import naming_lone_images, needs_two_images
from resight.training.options import TrainingOptions
from resight.training.precision import choose_precision, choose_threads
from resight.training.schedule import AveragedWeights, build_optimizer, learning_rate
from resight.training.step import build_loss, build_objective, sampling, softened, step_seed
from resight.training.validate import macro_auroc, predict_logits
from resight.types import Progress, Task, silent

_MUCH_WAITING = 0.3
"""Share of the time from which on it is said that the disk or the augmentation holds a run up."""


@dataclass
class _State:
    """What a run has to remember besides tensors; goes into every checkpoint."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    precision: Precision | None = None
    seconds: float = 0.0
    waited_s: float = 0.0
    best_epoch: int = -1
    best_value: float = -np.inf
    best_loss: float = np.inf
    history: list[dict[str, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class FitResult:
    """What came of a training run.

    Attributes:
        history: one entry per epoch: `epoch, loss, validation_loss, validation_auroc, learning_rate`.
        best_epoch: epoch whose weights the model now holds.
        best_value: validation AUROC (or negative validation loss) there.
        selected_by: `auroc`, or `loss` where no validation AUROC can be estimated.
        precision: `fp32` or `bf16`.
        device: where it ran.
        seconds: training time, all resumed parts together.
        waited_s: of these, how long the network waited for training images to be read and augmented.
    """

    history: tuple[dict[str, float | None], ...]
    best_epoch: int
    best_value: float
    selected_by: str
    precision: Precision
    device: str
    seconds: float
    waited_s: float = 0.0


def fit(
    model: nn.Module,
    train: TrainingData,
    validation: TrainingData,
    options: TrainingOptions,
    *,
    task: Task,
    folder: Path,
    augmentation: Augmentation | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> FitResult:
    """Train a model; afterwards it holds the weights of the best epoch.

    Args:
        model: maps images `(B, C, *space)` on the 0..255 scale to logits `(B, L)`.
        train: samples to learn from.
        validation: samples that choose the epoch.
        options: all choices.
        task: kind of classification, for the loss.
        folder: where `last.safetensors` and `best.safetensors` are kept.
        augmentation: applied to training images.
        resume: continue from `last.safetensors` if it is there.
        progress: told after every step.

    Raises:
        TrainingError: no samples, a loss that is not finite (the batch is kept), a dead worker.
        OutputError: a checkpoint cannot be written.
        SettingsError: a loss that does not fit the task, a device that is not there.
    """
    return _Run(model, train, validation, options, task, folder, augmentation, progress).run(resume=resume)


class _Run:
    def __init__(
        self,
        model: nn.Module,
        train: TrainingData,
        validation: TrainingData,
        options: TrainingOptions,
        task: Task,
        folder: Path,
        augmentation: Augmentation | None,
        progress: Progress,
    ) -> None:
        for name, data in (("training", train), ("validation", validation)):
            if not len(data):
                raise TrainingError(f"there are no {name} images", where="split", fix="Change the split fractions.")
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.use_deterministic_algorithms(options.deterministic)
        self.device = choose_device(options.device, where="training.device")
        self.model = with_channels_last(model.to(self.device))
        self.train, self.validation, self.options = train, validation, options
        self.task: Task = task
        self.folder, self.progress = folder, progress
        self.ranks = ranks()
        self.batch_size = options.batch_size * self.ranks.world
        lone = len(train) % self.batch_size == 1 and needs_two_images(self.model, self._first_images())
        least = 2 if lone else 1
        self.reader = Reader(
            train,
            batch_size=self.batch_size,
            least=least,
            device=self.device,
            augmentation=augmentation,
            seed=options.seed,
            workers=options.workers,
            share=(self.ranks.rank, self.ranks.world),
        )
        self.loss = build_loss(options, task, train)
        self.objective = build_objective(options, self.loss, self.model, train).to(self.device)
        self.optimizer = build_optimizer(nn.ModuleList([self.model, self.objective]), options)
        self.stepper = stepper(self.model, self.objective, self.device)
        self.average = AveragedWeights(self.model, options.ema_decay) if options.ema_decay else None
        self.weights = sampling(options, train)
        self.steps_per_epoch = len(batch_starts(len(train), self.batch_size, least))
        self.state = _State()

    def run(self, *, resume: bool) -> FitResult:
        if resume and (self.folder / "last.safetensors").exists():
            self._restore()
        if self.state.precision is None:
            measured = choose_precision(self.model, self._first_images(), self.options, self.device)
            self.state.precision = as_the_leader(measured)
        self.precision: Precision = self.state.precision
        if not (self.options.threads or self.options.deterministic):
            torch.set_num_threads(choose_threads(self.model, self._first_images(), self.precision, self.device))
        self._clock = self._saved = time.monotonic()
        while self.state.epoch < self.options.epochs and not self._impatient():
            with naming_dead_workers(self.options.workers):
                self._train_epoch()
                self._finish_epoch()
        wait_for_all()
        best, _ = load_checkpoint(self.folder / "best.safetensors")
        self.model.load_state_dict(best)
        state = self.state
        values = [entry["validation_auroc"] for entry in state.history]
        selected_by = "loss" if all(value is None for value in values) else "auroc"
        return FitResult(
            tuple(state.history),
            state.best_epoch,
            state.best_value,
            selected_by,
            self.precision,
            str(self.device),
            state.seconds,
            state.waited_s,
        )

    def _train_epoch(self) -> None:
        state, options = self.state, self.options
        order = epoch_order(len(self.train), options.seed, state.epoch, self.weights)
        stream = self.reader.batches(order, epoch=state.epoch, first_step=state.step)
        self.model.train()
        for batch in stream:
            state.loss_sum += self._step(batch)
            state.step += 1
            detail = f"epoch {state.epoch + 1}/{options.epochs}, loss {state.loss_sum / state.step:.4f}"
            waited_s, spent_s = self._spent()
            if waited_s > _MUCH_WAITING * spent_s:
                detail += f", {waited_s / spent_s:.0%} of the time waiting for images"
            done = state.epoch * self.steps_per_epoch + state.step
            self.progress("train", done, options.epochs * self.steps_per_epoch, detail)
            if time.monotonic() - self._saved > options.checkpoint_every_s:
                self._save()

    def _step(self, batch: Batch) -> float:
        state, options = self.state, self.options
        number = state.epoch * self.steps_per_epoch + state.step
        draw = number * self.ranks.world + self.ranks.rank
        torch.manual_seed(step_seed(options.seed, draw))  # dropout is redrawn alike after a resume
        rate = learning_rate(options, number, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        mixed = softened(batch, options, self.task, seed=options.seed, number=number)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        known = summed(mixed.mask.sum()).clamp(min=1)
        pieces = torch.arange(len(mixed.images)).chunk(options.accumulate)
        for piece, rows in enumerate(pieces):
            part = mixed.part(rows)
            with averaging(self.stepper, last=piece + 1 == len(pieces)):
                with autocast(self.precision, self.device), naming_lone_images():
                    loss = self.stepper(part)
                loss = loss.float() * (part.mask.sum() / known)
                if not torch.isfinite(loss):
                    self._keep_bad_batch(batch)
                (loss * self.ranks.world).backward()  # processes average their gradients; the sum is wanted
            total += loss.detach()
        if options.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update(self.model)
        return float(summed(total))

    def _finish_epoch(self) -> None:
        state, options = self.state, self.options
        weights = self.average.tensors if self.average else self.model.state_dict()
        current = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(weights)
        logits = predict_logits(
            self.model,
            self.validation,
            batch_size=options.batch_size,
            device=self.device,
            precision=self.precision,
        )
        data = self.validation
        loss = float(self.loss(*(torch.from_numpy(a) for a in (logits, np.nan_to_num(data.targets), data.mask))))
        macro = macro_auroc(scores_of(logits, self.task), data)
        value = (-loss if np.isnan(macro) else macro, -loss)
        if value > (state.best_value, -state.best_loss):  # small cohorts reach the same AUROC many times
            state.best_epoch, state.best_value, state.best_loss = state.epoch, value[0], loss
            if self.ranks.leads:
                save_checkpoint(self.folder / "best.safetensors", weights, {"epoch": state.epoch})
        self.model.load_state_dict(current)
        state.history.append(
            {
                "epoch": state.epoch,
                "loss": state.loss_sum / max(state.step, 1),
                "validation_loss": loss,
                "validation_auroc": None if np.isnan(macro) else macro,
                "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            }
        )
        state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
        self._save()

    def _impatient(self) -> bool:
        waited = self.state.epoch - 1 - self.state.best_epoch
        return bool(self.options.patience) and self.state.epoch > 0 and waited >= self.options.patience

    def _spent(self) -> tuple[float, float]:
        """Seconds waited for images, and of the whole training, up to now."""
        return self.state.waited_s + self.reader.waited_s, self.state.seconds + time.monotonic() - self._clock

    def _save(self) -> None:
        self.state.waited_s, self.state.seconds = self._spent()
        self._clock = self._saved = time.monotonic()
        self.reader.waited_s = 0.0
        if not self.ranks.leads:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        tensors |= {f"objective.{name}": tensor for name, tensor in self.objective.state_dict().items()}
        steps = 0
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
            steps = self.average.steps
        save_checkpoint(self.folder / "last.safetensors", tensors, {**asdict(self.state), "average_steps": steps})

    def _restore(self) -> None:
        tensors, state = load_checkpoint(self.folder / "last.safetensors")
        steps = state.pop("average_steps")
        try:
            self.model.load_state_dict(_below("model.", tensors))
            self.objective.load_state_dict(_below("objective.", tensors))
        except RuntimeError as error:
            message = "the checkpoint belongs to another network"
            raise TrainingError(
                message, where=str(self.folder), fix="Resume with the settings it began with."
            ) from error
        restore_optimizer(self.optimizer, _below("optimizer.", tensors))
        if self.average:
            self.average.tensors = {k: v.to(self.device) for k, v in _below("average.", tensors).items()}
            self.average.steps = steps
        self.state = _State(**state)

    def _first_images(self) -> torch.Tensor:
        count = min(self.options.batch_size, len(self.train))
        return next(in_order(self.train, batch_size=count, device=self.device)).images

    def _keep_bad_batch(self, batch: Batch) -> None:
        path = self.folder / "bad_batch.safetensors"
        names = [self.train.names[i] for i in batch.samples.tolist()]
        save_file(
            {"images": batch.images.cpu().contiguous(), "targets": batch.targets.cpu(), "mask": batch.mask.cpu()}, path
        )
        raise TrainingError(
            f"the loss is not finite in epoch {self.state.epoch + 1}, step {self.state.step + 1} "
            f"(images {', '.join(names[:3])}, ...)",
            where=str(path),
            fix="The batch is kept there. Lower training.learning_rate, or set training.precision to fp32.",
        )


def _below(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
