"""A training state in one safetensors file, written so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from resight.errors import OutputError, TrainingError


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state; the file under `path` is always either the old or the new one, whole.

    Raises:
        OutputError: disk full or no permission; the old checkpoint stays.
    """
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(cpu, temporary, metadata={"state": json.dumps(dict(state))})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else f"cannot be written ({error})"
        raise OutputError(reason, where=str(path), fix="Free space, then continue with --resume.") from error


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises:
        TrainingError: the file is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return tensors, json.loads(file.metadata()["state"])
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        fix = "Remove it and train again without --resume."
        raise TrainingError(f"not a readable checkpoint ({error})", where=str(path), fix=fix) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors `<parameter number>.<what>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, entries in state.items()
        for name, value in entries.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the groups come from the settings.

    Files hold tensors row by row; fused optimisers walk through memory, so each gets its parameter's order again.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        like = parameters[int(number)]
        ordered = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(number), {})[name] = ordered
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
