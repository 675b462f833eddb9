"""What each of several processes reads of the store: its own part of every batch, and nothing twice."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch

from resight.preprocess import Augmentation
from resight.training.data import Batch, Reader, TrainingData, epoch_order


class CountingStore:
    """Prepared images that remember which of them were read."""

    def __init__(self, count: int) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        self.read: list[int] = []

    def __getitem__(self, row: int) -> np.ndarray:
        self.read.append(row)
        return self.images[row]


def samples(store: CountingStore, count: int) -> TrainingData:
    rows = np.arange(count)[::-1].copy()  # rows of the store in another order than the samples
    targets = (np.arange(count) % 2).astype(float)[:, None]
    return TrainingData(store, rows, targets, np.ones((count, 1), bool), tuple(map(str, range(count))))


def batches(data: TrainingData, rank: int, world: int, first_step: int = 0) -> list[Batch]:
    reader = Reader(
        data,
        batch_size=4 * world,
        device=torch.device("cpu"),
        augmentation=Augmentation(rotate_deg=20.0),
        share=(rank, world),
    )
    return list(reader.batches(epoch_order(len(data), 3, 1), epoch=1, first_step=first_step))


def pictures(found: Iterable[Batch]) -> dict[int, torch.Tensor]:
    """Images by sample."""
    return {int(s): image for batch in found for s, image in zip(batch.samples, batch.images, strict=True)}


@pytest.mark.parametrize("world", [2, 3])
def test_each_process_reads_its_part_of_the_store_and_together_they_read_it_once(world: int) -> None:
    stores = [CountingStore(24 * world) for _ in range(world)]
    parts = [batches(samples(store, 24 * world), rank, world) for rank, store in enumerate(stores)]
    assert [len(store.read) for store in stores] == [24] * world
    assert sorted(row for store in stores for row in store.read) == list(range(24 * world))
    whole = batches(samples(CountingStore(24 * world), 24 * world), 0, 1)
    for step in range(len(parts[0])):
        shared, alone = pictures(part[step] for part in parts), pictures(whole[step * world : (step + 1) * world])
        assert shared.keys() == alone.keys()
        assert all(torch.equal(shared[s], alone[s]) for s in alone), "augmentation depends on the process"


def test_a_process_whose_part_is_empty_reads_one_image_that_does_not_count() -> None:
    stores = [CountingStore(9), CountingStore(9)]
    first, second = (batches(samples(store, 9), rank, 2) for rank, store in enumerate(stores))
    assert [len(batch.images) for batch in first] == [4, 1]
    assert [int(batch.mask.sum()) for batch in second] == [4, 0]
    assert len(stores[0].read) == len(stores[1].read) == 5


def test_a_continued_epoch_leaves_out_what_was_read() -> None:
    store = CountingStore(16)
    (rest,) = batches(samples(store, 16), 1, 2, first_step=1)
    assert len(store.read) == 4
    assert rest.samples.tolist() == batches(samples(CountingStore(16), 16), 1, 2)[1].samples.tolist()
