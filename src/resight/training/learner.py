"""A checkpoint of anything that learns without labels: network, optimiser and averaged weights in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resight.errors import TrainingError
from resight.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from resight.training.schedule import AveragedWeights


def save_learner(
    path: Path,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights,
    state: Mapping[str, Any],
) -> None:
    """Write all of it; `state` is what JSON can hold.

    Raises:
        OutputError: the checkpoint cannot be written.
    """
    tensors = {f"model.{name}": tensor for name, tensor in learner.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(optimizer).items()}
    save_checkpoint(path, tensors, {**state, "average_steps": average.steps})


def restore_learner(
    path: Path, learner: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedWeights
) -> dict[str, Any]:
    """Put back what `save_learner` wrote, and return the state.

    Raises:
        TrainingError: not a checkpoint, or one of another network.
    """
    tensors, state = load_checkpoint(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    try:
        learner.load_state_dict(parts["model"])
    except RuntimeError as error:
        fix = "Resume with the settings it began with."
        raise TrainingError("the checkpoint belongs to another network", where=str(path), fix=fix) from error
    restore_optimizer(optimizer, parts["optimizer"])
    average.tensors, average.steps = parts["average"], state.pop("average_steps")
    return state
