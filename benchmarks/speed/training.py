"""Row 4: a training step of ResNet-18 and ResNet-50, batch 8, 224 pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.measure import import_torchvision, one_thread, paired
from benchmarks.speed.networks import with_weights_of
from resight.models import autocast, channels_last, with_channels_last
from resight.training import LOSSES, TrainingOptions
from resight.training.schedule import build_optimizer

Step = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    one_thread()
    torchvision = import_torchvision()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 3, 224, 224), dtype=np.uint8))
    targets = torch.zeros(8, 14).bernoulli_(0.3, generator=torch.Generator().manual_seed(0))
    for letter, depth in (("", 18), ("b", 50)):
        torch.manual_seed(0)
        peer = getattr(torchvision.models, f"resnet{depth}")(num_classes=14).train()
        ours, _ = with_weights_of(peer, depth, tuple(map(str, range(14))))
        other = copy.deepcopy(peer).to(memory_format=torch.channels_last)
        plain_step = _peer_step(peer, images, targets, ours.mean, ours.std)
        other_step = _peer_step(other, images, targets, ours.mean, ours.std, bf16=True)
        step = our_step(ours.train(), torch.device("cpu"))
        first = plain_step(), float(step(images, targets))  # the same weights still
        paired(
            f"04{letter}",
            f"training step, ResNet-{depth}, batch 8, 224 px",
            {
                "torch fp32, NCHW": plain_step,
                "Resight, bf16, channels last": lambda step=step: float(step(images, targets)),
                "torch bf16, channels last": other_step,
            },
            must=2.0,
            difference=abs(first[0] - first[1]) / first[0],
            tolerance=0.02,
            unit="of the first loss",
            budget_s=12.0,
            libraries=("torch", "torchvision"),
        )


def _peer_step(model, images, targets, mean, std, *, bf16: bool = False):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = torch.nn.BCEWithLogitsLoss()
    mean, std = mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
    order = torch.channels_last if bf16 else torch.contiguous_format

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        inputs = ((images.float() / 255 - mean) / std).contiguous(memory_format=order)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(inputs)
        loss = loss_of(logits.float(), targets)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def our_step(model: nn.Module, device: torch.device) -> Step:
    """The step of `resight.training.loop` without what surrounds it; gives the loss, which is still on the device."""
    with_channels_last(model.to(device))
    optimizer = build_optimizer(model, TrainingOptions(learning_rate=1e-3))
    loss_of = LOSSES.build("binary", {}, task="multilabel", positive_weight=None)

    def step(images: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast("bf16", device):
            logits = model(channels_last(images))
        loss = loss_of(logits.float(), targets, torch.ones_like(targets, dtype=torch.bool))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    main()
