"""One round of training at a site: a few passes from the shared weights; the same bits again, unless noise hides them.

Rounds and local epochs take the place of `epochs`; `precision = "auto"` is fp32, so that all sites compute alike.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from resight.errors import SettingsError, TrainingError, require
from resight.federated.aggregate import Tensors
from resight.federated.privacy import check_network
from resight.federated.settings import PrivacyOptions
from resight.models import autocast, choose_device, with_channels_last
from resight.preprocess import Augmentation
from resight.training import Objective, TrainingOptions
from resight.training.data import Batch, Reader, TrainingData, epoch_order
from resight.training.norms import naming_lone_images
from resight.training.schedule import build_optimizer, learning_rate
from resight.training.step import build_loss, build_objective, sampling, softened, step_seed
from resight.types import Task

_OBJECTIVE: Final = "objective."
"""Prefix of what an objective learns beside the network, such as an adversary: it stays at the site."""


@dataclass(frozen=True)
class Round:
    """Where in the training a round stands.

    Attributes:
        number: from 0.
        of: rounds of the whole training, for the learning rate.
        epochs: passes over the images in each.
        seed: of order, augmentation and dropout; differs from site to site.
    """

    number: int
    of: int
    epochs: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What a round of training was: optimiser steps, mean learning rate, mean loss, and the share drawn in a step."""

    steps: int
    rate: float
    loss: float
    sampled: float


def train_locally(
    model: nn.Module,
    data: TrainingData,
    options: TrainingOptions,
    place: Round,
    *,
    task: Task,
    augmentation: Augmentation | None,
    wrap: Callable[[Objective], Objective],
    memory: Tensors,
    privacy: PrivacyOptions,
) -> Trained:
    """Train in place.

    Args:
        model: holds the shared weights.
        data: the site's training images.
        options: optimiser, schedule, batch size and the like.
        place: which round.
        task: kind of classification.
        augmentation: applied to training images.
        wrap: puts a strategy's terms around the objective.
        memory: what the site keeps; what the objective has learned, which stays here, is read from it and put back.
        privacy: with `differential = "example"`, gradients are clipped image by image and get noise.

    Raises:
        TrainingError: the loss is not finite.
        SettingsError: a network or option that per-image clipping cannot be done with.
    """
    torch.use_deterministic_algorithms(options.deterministic)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device, where="training.device")
    with_channels_last(model.to(device)).train()
    for part in model.children():
        if not _learns(part):
            part.eval()  # its running statistics stay as they are, too
    private = privacy.differential == "example"
    steps_per_epoch = -(-len(data) // options.batch_size)
    whole = options.model_copy(update={"epochs": place.of * place.epochs})
    loss = build_loss(options, task, data)
    built = build_objective(options, loss, model, data).to(device)
    _recall(built, memory)
    stepper = _Private(model, built, options, privacy) if private else _Plain(model, built, options)
    objective = wrap(built)
    reader = Reader(
        data,
        batch_size=options.batch_size,
        device=device,
        augmentation=augmentation,
        seed=place.seed,
        workers=options.workers,
    )
    weights = sampling(options, data)
    precision = "bf16" if options.precision == "bf16" and not private else "fp32"
    total, rates, steps = 0.0, 0.0, 0
    for epoch in range(place.number * place.epochs, (place.number + 1) * place.epochs):
        order = epoch_order(len(data), place.seed, epoch, weights)
        for batch in stepper.batches(order, reader, epoch, steps_per_epoch):
            number = epoch * steps_per_epoch + steps % steps_per_epoch
            torch.manual_seed(step_seed(place.seed, number))
            rate = learning_rate(whole, number, steps_per_epoch)
            rates, steps = rates + rate, steps + 1
            stepper.begin(rate)
            if batch is None:
                stepper.noise_alone()
                stepper.end()
                continue
            batch = softened(batch, options, task, seed=place.seed, number=number)
            known = batch.mask.sum().clamp(min=1)
            for rows in torch.arange(len(batch.images)).chunk(options.accumulate):
                part = batch.part(rows)
                with autocast(precision, device), naming_lone_images():
                    value = objective(stepper.network, part)
                value = value.float() * (part.mask.sum() / known)
                if not torch.isfinite(value):
                    fix = "Lower training.learning_rate, or set training.precision to fp32."
                    raise TrainingError(f"the loss is not finite in round {place.number + 1}", fix=fix)
                value.backward()
                total += float(value.detach())
            stepper.end()
    stepper.close()
    memory |= {_OBJECTIVE + name: tensor.cpu().numpy() for name, tensor in built.state_dict().items()}
    return Trained(steps, rates / steps, total / steps, min(1.0, options.batch_size / len(data)))


class _Plain:
    """The usual optimiser."""

    def __init__(self, model: nn.Module, objective: Objective, options: TrainingOptions) -> None:
        self.network, self._options = model, options
        self._optimizer: Any = build_optimizer(nn.ModuleList([model, objective]), options)

    def batches(self, order: Int[np.ndarray, " M"], reader: Reader, epoch: int, steps: int) -> Iterator[Batch | None]:
        """One pass."""
        del steps
        yield from reader.batches(order, epoch=epoch)

    def begin(self, rate: float) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def noise_alone(self) -> None:
        raise AssertionError("batches that are not drawn by chance are not empty")

    def end(self) -> None:
        if self._options.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._options.clip_norm)
        self._optimizer.step()

    def close(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)


class _Private(_Plain):
    """Opacus: each image's gradient is clipped, their sum gets noise; batches are drawn by chance (Poisson)."""

    def __init__(
        self, model: nn.Module, objective: Objective, options: TrainingOptions, privacy: PrivacyOptions
    ) -> None:
        check_network(model)
        if options.imbalance.endswith("sampler") or options.mixup or options.accumulate > 1:
            found = "mixup" if options.mixup else "accumulate" if options.accumulate > 1 else options.imbalance
            fix = "Switch it off: the accounting needs images that are drawn alike and one at a time."
            raise SettingsError(found, where="privacy.differential = 'example'", fix=fix)
        super().__init__(model, objective, options)
        opacus = require("opacus", extra="federated")
        optimizers = require("opacus.optimizers", extra="federated")
        self.network = opacus.GradSampleModule(model)
        # Opacus' hook on the first layer that learns wants an input with a gradient.
        learning = [module for module in model.modules() if _learns(module, recurse=False)]
        self._hooks = [module.register_forward_pre_hook(_with_gradient) for module in learning]
        self._rng = np.random.default_rng()  # a server that could draw it again could take the noise out
        self._optimizer = optimizers.DPOptimizer(
            self._optimizer,
            noise_multiplier=privacy.noise,
            max_grad_norm=privacy.clip_norm,
            expected_batch_size=options.batch_size,
            generator=torch.Generator(next(model.parameters()).device).manual_seed(secrets.randbits(63)),
        )

    def batches(self, order: Int[np.ndarray, " M"], reader: Reader, epoch: int, steps: int) -> Iterator[Batch | None]:
        """Every image is in a batch with the same chance; None stands for a batch into which none came."""
        share = min(1.0, self._options.batch_size / len(order))
        for _ in range(steps):
            rows = np.flatnonzero(self._rng.random(len(order)) < share)
            if not len(rows):
                yield None
                continue
            yield _joined(list(reader.batches(rows, epoch=epoch)))

    def close(self) -> None:
        super().close()
        for hook in self._hooks:
            hook.remove()
        self.network.remove_hooks()
        for parameter in self.network.parameters():
            for name in ("grad_sample", "summed_grad", "_forward_counter"):
                if hasattr(parameter, name):
                    delattr(parameter, name)

    def noise_alone(self) -> None:
        for parameter in self.network.parameters():
            if parameter.requires_grad:
                parameter.grad_sample = torch.zeros((0, *parameter.shape), device=parameter.device)

    def end(self) -> None:
        self._optimizer.step()  # clips by itself, image by image


def _learns(part: nn.Module, *, recurse: bool = True) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters(recurse))


def _with_gradient(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    del module
    return tuple(one if one.requires_grad else one.detach().requires_grad_() for one in inputs)


def _recall(objective: Objective, memory: Tensors) -> None:
    kept = {n.removeprefix(_OBJECTIVE): torch.from_numpy(a) for n, a in memory.items() if n.startswith(_OBJECTIVE)}
    if not kept:
        return
    try:
        objective.load_state_dict(kept)
    except RuntimeError as error:
        fix = "Take part with another --out."
        raise TrainingError("what the objective has learned belongs to other groups or settings", fix=fix) from error


def _joined(parts: list[Batch]) -> Batch:
    def whole(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else torch.cat(found)

    return Batch(*(whole(one.name) for one in fields(Batch)))
