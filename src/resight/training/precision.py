"""Where and in which number format to train: chosen by trying it on this machine, not by a processor's flags."""

from __future__ import annotations

import copy
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from resight.errors import SettingsError
from resight.training.options import TrainingOptions

_TRIALS = 3
"""Timed training steps per format; the fastest counts, as other programs can only slow a step down."""
_WORTHWHILE = 1.15
"""bf16 must be this much faster, since its rounding costs a little accuracy."""


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        SettingsError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise SettingsError(f"the device {name!r} is not available here", where="training.device", expected=there)
    return torch.device(name)


def choose_precision(model: nn.Module, images: Tensor, options: TrainingOptions, device: torch.device) -> str:
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
    seconds = {precision: _seconds(model, images, precision, device) for precision in ("fp32", "bf16")}
    return "bf16" if seconds["fp32"] > _WORTHWHILE * seconds["bf16"] else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which forward passes run."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16)


def with_channels_last(model: nn.Module) -> nn.Module:
    """Filters in channels-last order, which is what fast convolution kernels read; results do not change."""
    for parameter in model.parameters():
        if parameter.ndim in (4, 5):
            order = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=order)
    return model


def _seconds(model: nn.Module, images: Tensor, precision: str, device: torch.device) -> float:
    trial = copy.deepcopy(model).train()
    best = float("inf")
    for _ in range(_TRIALS + 1):
        begin = time.perf_counter()
        with autocast(precision, device):
            loss = trial(images).float().square().mean()
        loss.backward()
        best = min(best, time.perf_counter() - begin)
    return best
