"""A small training run in a process of its own, to be killed: `python kill_me.py FOLDER [--resume]`."""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from resight.preprocess import Augmentation
from resight.training import TrainingOptions, fit
from resight.training.data import TrainingData


def tiny_data(count: int, seed: int) -> TrainingData:
    """Bright blobs left or right; which side is the label."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, size=(count, 1, 16, 16), dtype=np.uint8)
    side = rng.integers(0, 2, size=count)
    for image, right in zip(images, side, strict=True):
        image[0, 4:12, 8 * right : 8 * right + 6] += 60
    targets = side[:, None].astype(float)
    names = tuple(f"{seed}-{i}.png" for i in range(count))
    return TrainingData(list(images), np.arange(count), targets, ~np.isnan(targets), names)


class TinyNet(nn.Module):
    """Everything that has a state of its own: normalisation, dropout, convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
            nn.Flatten(),
        )
        self.last = nn.Linear(8 * 64, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.layers(images.float() / 255))


def train(folder: Path, *, resume: bool, pause_s: float = 0.0, **options: object) -> None:
    torch.manual_seed(7)
    settings = TrainingOptions(
        **{"epochs": 4, "batch_size": 8, "deterministic": True, "mixup": 0.2, "checkpoint_every_s": 0.02, **options}
    )

    def wait(*_: object) -> None:
        time.sleep(pause_s)

    fit(
        TinyNet(),
        tiny_data(64, 0),
        tiny_data(32, 1),
        settings,
        task="binary",
        folder=folder,
        augmentation=Augmentation(),
        resume=resume,
        progress=wait,
    )


if __name__ == "__main__":
    print("imported", flush=True)
    train(Path(sys.argv[1]), resume="--resume" in sys.argv, pause_s=0.02)
