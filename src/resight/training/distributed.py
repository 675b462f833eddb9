"""Several processes that train one network: who reads what, and what all of them must know.

Every process reads its own part of each global batch; torch's DistributedDataParallel (Li et al., VLDB 2020) averages
the gradients. Predictions are gathered by sample, so every process computes the same metrics from all of them, once.
Started by `torchrun`, by a cluster's scheduler, or by `resight train --processes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn

from resight.errors import TrainingError
from resight.training.base import Objective
from resight.training.data import Batch

Anything = TypeVar("Anything")

_TIMEOUT_S = 1800.0
"""Longest time a process waits for the others: one of them may be decoding the images."""


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this is; `Ranks(0, 1)` where there is one only."""

    rank: int
    world: int

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


def ranks() -> Ranks:
    """Where this process stands."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks(0, 1)


def restarts() -> int:
    """How often torchrun has started this process again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the other processes, where the environment says that there are some (`RANK`, `WORLD_SIZE`).

    Raises:
        TrainingError: another process died or cannot be reached.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or distributed.is_initialized():
        yield ranks()
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        waiting = timedelta(seconds=_TIMEOUT_S)
        store, rank, world = next(distributed.rendezvous("env://", timeout=waiting))
        # torchrun may keep its store over restarts: the addresses of the dead must not be found in it.
        own = distributed.PrefixStore(f"attempt-{restarts()}", store)
        distributed.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=waiting)
        yield ranks()
    except RuntimeError as error:
        fix = "Start all processes again with --resume."
        raise TrainingError(
            f"another process of this training died or cannot be reached ({_first(error)})", fix=fix
        ) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


@contextmanager
def leader_first() -> Iterator[None]:
    """What stands inside is done by the leading process first, then by the others, who find what it made."""
    mine = ranks()
    if mine.world > 1 and not mine.leads:
        distributed.barrier()
    yield
    if mine.world > 1 and mine.leads:
        distributed.barrier()


def wait_for_all() -> None:
    """Go on when every process is here."""
    if ranks().world > 1:
        distributed.barrier()


def as_the_leader(value: Anything) -> Anything:
    """The leading process' value, for choices made by measurement."""
    if ranks().world == 1:
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


def summed(value: Tensor) -> Tensor:
    """Sum over all processes."""
    if ranks().world > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value


def gathered(values: Float[Tensor, "n L"], rows: Int[Tensor, " n"], total: int) -> Float[Tensor, "N L"]:
    """Rows of all processes in the order of their numbers; a row that several processes hold counts once.

    Args:
        values: of this process.
        rows: number of each row.
        total: N.
    """
    joined = torch.full((total, values.shape[1]), float("nan"), dtype=values.dtype)
    parts: list[tuple[Tensor, Tensor]] = [(values, rows)]
    mine = ranks()
    if mine.world > 1:
        held: list[tuple[Tensor, Tensor] | None] = [None] * mine.world
        distributed.all_gather_object(held, (values.cpu(), rows.cpu()))
        parts = [part for part in held if part is not None]
    for part, numbers in parts:
        joined[numbers] = part.cpu()
    return joined


class Stepper(nn.Module):
    """Model and objective as one module, so that gradients are averaged wherever the loss comes from."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        return self.objective(self.model, batch)


def stepper(model: nn.Module, objective: Objective, device: torch.device) -> nn.Module:
    """What a step calls: `Stepper`, wrapped so that processes average their gradients where there are several."""
    plain = Stepper(model, objective)
    if ranks().world == 1:
        return plain
    places = [device.index or 0] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(plain, device_ids=places)


@contextmanager
def averaging(module: nn.Module, *, last: bool) -> Iterator[None]:
    """Average gradients after the last micro-batch of a step alone."""
    if isinstance(module, nn.parallel.DistributedDataParallel) and not last:
        with module.no_sync():
            yield
    else:
        yield


def _first(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
