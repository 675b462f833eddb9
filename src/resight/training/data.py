"""From the decode-once store to batches: what is drawn depends only on seed, epoch and sample, never on workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from resight.errors import TrainingError
from resight.preprocess import Augmentation, Store
from resight.types import Mask, Targets

Place = tuple[int, int]
"""Epoch and sample index: enough to draw an augmentation again."""


@dataclass(frozen=True)
class TrainingData:
    """The samples of one split.

    Attributes:
        store: prepared images of the whole cohort.
        rows: for each of the N samples its row in the store.
        targets: `(N, L)` in [0, 1]; NaN where unknown.
        mask: `(N, L)` true where known.
        names: image names, for messages.
    """

    store: Store
    rows: Int[np.ndarray, " N"]
    targets: Targets
    mask: Mask
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """One batch on the device."""

    images: UInt8[Tensor, "B C *space"]
    targets: Float[Tensor, "B L"]
    mask: Bool[Tensor, "B L"]
    samples: Int[Tensor, " B"]


class _Samples(Dataset[tuple[Tensor, Tensor, Tensor, int]]):
    def __init__(self, data: TrainingData, augmentation: Augmentation | None, seed: int) -> None:
        self.data, self.augmentation, self.seed = data, augmentation, seed
        self.targets = torch.from_numpy(np.nan_to_num(data.targets).astype(np.float32))
        self.mask = torch.from_numpy(data.mask)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor, Tensor, int]:
        epoch, sample = place
        image = self.data.store[int(self.data.rows[sample])]
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed, epoch, sample))
            image = self.augmentation.apply(image, self.augmentation.sample(rng, image.shape))
        pixels = torch.from_numpy(np.array(image))  # a copy: the store is read-only memory
        return pixels, self.targets[sample], self.mask[sample], sample


class _Order(Sampler[list[Place]]):
    """The batches of one epoch, from `first_step` on."""

    def __init__(self, order: Int[np.ndarray, " M"], batch_size: int, epoch: int, first_step: int) -> None:
        self.batches = [
            [(epoch, int(sample)) for sample in order[start : start + batch_size]]
            for start in range(first_step * batch_size, len(order), batch_size)
        ]

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def epoch_order(
    count: int, seed: int, epoch: int, weights: Float[np.ndarray, " N"] | None = None
) -> Int[np.ndarray, " N"]:
    """The order of samples in one epoch: a permutation, or draws with replacement where weights are given."""
    rng = np.random.default_rng((seed, epoch))
    if weights is None:
        return rng.permutation(count)
    return rng.choice(count, size=count, p=weights / weights.sum())


def batches(
    data: TrainingData,
    order: Int[np.ndarray, " M"],
    *,
    batch_size: int,
    device: torch.device,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    epoch: int = 0,
    first_step: int = 0,
    workers: int = 0,
) -> Iterator[Batch]:
    """Read, augment and move batches to the device.

    Args:
        data: where the images are.
        order: sample indices in the order they are used.
        batch_size: images per batch; the last one may be smaller.
        device: where the batch goes.
        augmentation: drawn anew for each sample and epoch; None for evaluation.
        seed: seed of the augmentation.
        epoch: epoch number, part of the augmentation's seed.
        first_step: batches to leave out, when an epoch is continued.
        workers: reading processes; 0 reads here.

    Raises:
        TrainingError: a worker process died.
    """
    options: dict[str, Any] = {"multiprocessing_context": "spawn"} if workers else {}
    loader = DataLoader(
        _Samples(data, augmentation, seed),
        batch_sampler=_Order(order, batch_size, epoch, first_step),
        num_workers=workers,
        **options,
    )
    iterator = iter(loader)
    while True:
        try:
            pixels, targets, mask, samples = next(iterator)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            if not workers or (isinstance(error, RuntimeError) and "worker" not in str(error).lower()):
                raise
            message = "a worker process that reads images died (often: out of memory, or killed)"
            raise TrainingError(message, fix="Train again with --resume and training.workers=0.") from error
        yield Batch(pixels.to(device), targets.to(device), mask.to(device), samples)
