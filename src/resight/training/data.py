"""From the decode-once store to batches: what is drawn depends only on seed, epoch and sample, never on workers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
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
        groups: `(N,)` group of each sample, from 0, for objectives that treat groups apart; None without groups.
        table: `(N, T)` encoded clinical columns; None for images alone.
        modalities: images of one patient that the channels hold side by side.
        hidden: numbers of modalities that are shown as missing.
        spacing_mm: of the prepared grid, where it is the same in all images: random turns are turns in millimetres.
    """

    store: Store
    rows: Int[np.ndarray, " N"]
    targets: Targets
    mask: Mask
    names: tuple[str, ...]
    groups: Int[np.ndarray, " N"] | None = None
    table: Float[np.ndarray, "N T"] | None = None
    modalities: int = 1
    hidden: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """One batch on the device; `samples` are indices into the data it was read from."""

    images: Shaped[Tensor, "B C *space"]
    targets: Float[Tensor, "B L"]
    mask: Bool[Tensor, "B L"]
    samples: Int[Tensor, " B"]
    groups: Int[Tensor, " B"] | None = None
    table: Float[Tensor, "B T"] | None = None

    def part(self, rows: Int[Tensor, " P"]) -> Batch:
        """Some of its rows."""
        groups, table = (None if part is None else part[rows] for part in (self.groups, self.table))
        return Batch(self.images[rows], self.targets[rows], self.mask[rows], self.samples[rows.cpu()], groups, table)


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
            drawn = self.augmentation.sample(rng, image.shape)
            changed = self.augmentation.apply(image, drawn, spacing=self.data.spacing_mm)
            if self.data.modalities > 1:  # a modality that is missing stays so, whatever became of the others
                changed *= image.reshape(len(image), -1).any(axis=1).reshape(-1, *[1] * (image.ndim - 1))
            image = changed
        image = np.array(image)  # a copy: the store is read-only memory
        if self.data.hidden:
            image.reshape(self.data.modalities, -1)[list(self.data.hidden)] = 0
        pixels = torch.from_numpy(image)
        return pixels, self.targets[sample], self.mask[sample], sample


class _Order(Sampler[list[Place]]):
    """The batches of the pass that comes next; while one is read, the disk is asked for the one behind it."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.batches: list[list[Place]] = []

    def __iter__(self) -> Iterator[list[Place]]:
        for batch, following in zip_longest([[], *self.batches], self.batches, fillvalue=[]):
            if isinstance(self.data.store, Store):
                self.data.store.read_ahead(int(self.data.rows[sample]) for _, sample in following)
            if batch:
                yield batch

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


def batch_starts(count: int, size: int, least: int = 1) -> range:
    """Where each batch of a pass begins.

    Args:
        count: samples in the pass.
        size: of a batch.
        least: samples of the last batch; fewer join the batch before.
    """
    left_over = count % size
    return range(0, count - left_over if size <= count and 0 < left_over < least else count, size)


class Reader:
    """Reads, augments and moves batches to the device; its processes live through all passes.

    Args:
        data: where the images are.
        batch_size: images per batch; the last one of a pass may be smaller.
        device: where the batches go.
        augmentation: drawn anew for each sample and epoch; None for evaluation.
        seed: seed of the augmentation.
        workers: reading processes; 0 reads here.
        least: samples of the last batch of a pass; fewer join the batch before.
        share: this reader's number and how many share each batch; the part of one that comes off empty is a single
            sample that counts for nothing.

    Attributes:
        waited_s: seconds in which whoever takes the batches waited for them, all passes together.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        batch_size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        workers: int = 0,
        least: int = 1,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._batch_size, self._least, self._device, self._share = batch_size, least, device, share
        self._table = None if data.table is None else torch.from_numpy(data.table).float()
        self._groups = None if data.groups is None else torch.from_numpy(data.groups).long()
        self._order = _Order(data)
        self.waited_s = 0.0
        processes: dict[str, Any] = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
        samples = _Samples(data, augmentation, seed)
        pinned = device.type == "cuda"  # so that the copy to the device runs beside its work
        self._loader = DataLoader(
            samples, batch_sampler=self._order, num_workers=workers, pin_memory=pinned, **processes
        )

    def batches(self, order: Int[np.ndarray, " M"], *, epoch: int = 0, first_step: int = 0) -> Iterator[Batch]:
        """One pass.

        Args:
            order: sample indices in the order they are used.
            epoch: epoch number, part of the augmentation's seed.
            first_step: batches to leave out, when an epoch is continued.
        """
        starts = batch_starts(len(order), self._batch_size, self._least)
        number, readers = self._share
        ends = [*starts[1:], len(order)]
        whole = [order[start:end] for start, end in zip(starts, ends, strict=False)][first_step:]
        mine = [chunk[number::readers] for chunk in whole]
        parts = [part if len(part) else chunk[:1] for part, chunk in zip(mine, whole, strict=True)]
        self._order.batches = [[(epoch, int(sample)) for sample in part] for part in parts]
        asked = time.monotonic()
        for (pixels, targets, mask, samples), part in zip(self._loader, mine, strict=True):
            if not len(part):
                mask = torch.zeros_like(mask)
            groups, table = (
                None if part is None else part[samples].to(self._device) for part in (self._groups, self._table)
            )
            pixels, targets, mask = (part.to(self._device, non_blocking=True) for part in (pixels, targets, mask))
            self.waited_s += time.monotonic() - asked
            yield Batch(pixels, targets, mask, samples, groups, table)
            asked = time.monotonic()


@contextmanager
def naming_dead_workers(workers: int) -> Iterator[None]:
    """Turns the death of a reading process, which is told wherever the main process just is, into one clear error.

    Raises:
        TrainingError: a reading process died.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        if not workers or (isinstance(error, RuntimeError) and "DataLoader worker" not in str(error)):
            raise
        _no_second_telling()
        message = "a worker process that reads images died (often: out of memory, or killed)"
        raise TrainingError(message, fix="Train again with --resume and training.workers=0.") from error


def _no_second_telling() -> None:
    """PyTorch tells of dead workers by a signal too, which would break into what is done about the first telling."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def in_order(data: TrainingData, *, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """All samples once, as they are stored."""
    return Reader(data, batch_size=batch_size, device=device).batches(np.arange(len(data)))
