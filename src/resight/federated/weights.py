"""Which tensors of a network sites share, which stay at a site, and which nobody trains."""

from __future__ import annotations

import hashlib

from torch import nn

from resight.errors import SettingsError
from resight.federated.aggregate import Tensors
from resight.federated.base import Strategy
from resight.models import Classifier

_LEARNING = ("head.", "exits.", "clinical.")
"""What learns besides the backbone."""
_FIXED = ("mean", "std", "clinical.nothing")
"""How images and tables are scaled, which is no knowledge."""


def tensors_of(model: nn.Module) -> Tensors:
    """Weights and running statistics as float32 copies; no counters, and nothing that is fixed."""
    return {
        name: tensor.detach().float().cpu().contiguous().numpy().copy()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and name not in _FIXED
    }


def shared_tensors(model: nn.Module, strategy: Strategy, frozen: frozenset[str] = frozenset()) -> Tensors:
    """The tensors of a network that sites share under a strategy."""
    kept = strategy.stays(model) | frozen
    return {name: array for name, array in tensors_of(model).items() if name not in kept}


def freeze(model: Classifier, learns: str) -> frozenset[str]:
    """Keep the backbone from learning where the head alone learns, with exits and fusion where there are some.

    The last layer then begins at 0: its weights need no chance to differ, which would only add to protecting noise.

    Returns:
        Names of the tensors that stay as they are.

    Raises:
        SettingsError: a stem with weights, which would stay as chance made it.
    """
    if learns == "network":
        return frozenset()
    if any(True for _ in model.stem.parameters()):
        fix = "Choose the stem 'channels' or 'separate', or federation.learns = 'network'."
        raise SettingsError("a stem that has to learn", where="federation.learns = 'head'", fix=fix)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(_LEARNING))
    *_, last = (part for part in model.head.modules() if isinstance(part, nn.Linear))
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return frozenset(name for name in tensors_of(model) if not name.startswith(_LEARNING))


def frozen_digest(model: nn.Module, frozen: frozenset[str]) -> str:
    """SHA-256 of what does not learn, which must be alike at all sites; empty where everything learns."""
    if not frozen:
        return ""
    digest, tensors = hashlib.sha256(), tensors_of(model)
    for name in sorted(frozen):
        digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()
