"""Number format and threads of a training run: chosen by trying them here, not by a processor's flags."""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor, nn

from resight.models import autocast, channels_last, with_channels_last
from resight.models.device import Precision
from resight.training.options import TrainingOptions

_TRIALS = 3
"""Timed training steps per format; the fastest counts, as other programs can only slow a step down."""
_WORTHWHILE = 1.15
"""bf16 must be this much faster, since its rounding costs a little accuracy."""


def choose_precision(model: nn.Module, images: Tensor, options: TrainingOptions, device: torch.device) -> Precision:
    """`fp32` or `bf16`.

    Args:
        model: the network, on the device; it is copied, not changed.
        images: one batch as in training.
        options: `precision` decides unless it is `auto`; deterministic runs take fp32 then.
        device: where training happens.
    """
    if options.precision != "auto":
        return options.precision
    if options.deterministic or device.type == "mps":
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    gain = step_seconds(model, images, "fp32", device) / step_seconds(model, images, "bf16", device)
    return "bf16" if gain > _WORTHWHILE else "fp32"


def choose_threads(model: nn.Module, images: Tensor, precision: Precision, device: torch.device) -> int:
    """All cores, or one where other programs keep the rest busy: waiting threads can be ten times slower than one.

    Args:
        model: the network, on the device; it is copied, not changed.
        images: one batch as in training.
        precision: number format of the steps.
        device: where training happens; only the CPU is measured.
    """
    every = torch.get_num_threads()
    if device.type != "cpu" or every == 1:
        return every
    seconds = {}
    for threads in (every, 1):
        torch.set_num_threads(threads)
        seconds[threads] = step_seconds(model, images, precision, device)
    torch.set_num_threads(every)
    return min(seconds, key=lambda threads: seconds[threads])


def bf16_gain(device: torch.device) -> float:
    """How many times faster a training step of a small convolutional network is in bf16 than in fp32, measured."""
    layers = [nn.Conv2d(3, 64, 3, padding=1), *(nn.Conv2d(64, 64, 3, padding=1) for _ in range(4))]
    model = with_channels_last(nn.Sequential(*layers).to(device))
    images = torch.rand(4, 3, 64, 64, device=device)
    return step_seconds(model, images, "fp32", device) / step_seconds(model, images, "bf16", device)


def step_seconds(
    model: nn.Module, images: Tensor, precision: Precision, device: torch.device, *, trials: int = _TRIALS
) -> float:
    """Seconds of the fastest of some training steps, after one to warm up.

    Args:
        model: the network, on the device; it is copied, not changed.
        images: one batch as in training.
        precision: number format.
        device: where the network is.
        trials: how many are timed.
    """
    trial = copy.deepcopy(model).train()
    images = channels_last(images)
    best = float("inf")
    for _ in range(trials + 1):
        begin = time.perf_counter()
        with autocast(precision, device):
            loss = trial(images).float().square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return best
