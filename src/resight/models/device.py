"""Where and in which number format a network runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from resight.errors import SettingsError

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "bf16"]
Network = TypeVar("Network", bound=nn.Module)


def choose_device(name: Device, *, where: str = "device") -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        SettingsError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name, False):
        expected = ", ".join(device for device, there in available.items() if there)
        raise SettingsError(f"the device {name!r} is not available here", where=where, expected=expected)
    return torch.device(name)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context in which forward passes run."""
    return nullcontext() if precision == "fp32" else torch.autocast(device_type=device.type, dtype=torch.bfloat16)


def with_channels_last(network: Network) -> Network:
    """Filters in channels-last order, which is what fast convolution kernels read; results do not change."""
    for parameter in network.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = channels_last(parameter.data)
    return network


def channels_last(images: Tensor) -> Tensor:
    """The same images `(B, C, H, W)` or volumes `(B, C, D, H, W)`, with the channels of a pixel side by side."""
    order = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
    ordered = images.contiguous(memory_format=order)
    if images.shape[1] > 1:
        return ordered
    # Of a single channel both orders are the same bytes. PyTorch then goes by the strides, and all maps that follow.
    return ordered.squeeze(1).unsqueeze(-1).movedim(-1, 1)
