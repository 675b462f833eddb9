"""Several answers to one image, so that their spread tells doubt: members, dropout left on, or views.

Members: Lakshminarayanan et al., NeurIPS 2017. Dropout: Gal & Ghahramani, ICML 2016. Views: Wang et al.,
Neurocomputing 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from resight.blocks import DropPath
from resight.errors import SettingsError
from resight.models.classifier import Images
from resight.models.ensemble import Ensemble
from resight.models.views import N_VIEWS, view

Doubt = Literal["members", "dropout", "views"]
_RANDOM = (nn.Dropout, DropPath)


def several_answers(
    network: nn.Module, images: Images, how: Doubt, *, passes: int = 20, seed: int = 0
) -> Float[Tensor, "K B L"]:
    """Logits of K answers to the same images.

    Args:
        network: a classifier or an ensemble, in evaluation mode; left as it is.
        images: `(B, C, *space)`, 0 to 255.
        how: `members` of an ensemble, `dropout` left on, or `views`: mirrored and, where square, turned.
        passes: how often dropout is drawn.
        seed: of the dropout; the generator of the caller is left as it was.

    Raises:
        SettingsError: the network has no members, no dropout, or the images are volumes.
    """
    if how == "members":
        if not isinstance(network, Ensemble):
            fix = "Train with members or folds, or ask for dropout or views."
            raise SettingsError("one network", where="doubt by members", expected="an ensemble", fix=fix)
        return torch.stack([member(images).float() for member in network.members])
    if how == "views":
        if images.ndim != 4:
            raise SettingsError("volumes", where="doubt by views", expected="images", fix="Ask for dropout or members.")
        count = N_VIEWS if images.shape[-1] == images.shape[-2] else N_VIEWS // 2
        return torch.stack([network(view(images, number).contiguous()).float() for number in range(count)])
    layers = [layer for layer in network.modules() if isinstance(layer, _RANDOM) and _rate(layer) > 0]
    if not layers:
        fix = "Train with dropout in [model.head] or drop_path in [model.backbone], or ask for views or members."
        raise SettingsError("the network has no dropout", where="doubt by dropout", fix=fix)
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices), _switched_on(layers):
        torch.manual_seed(seed)
        return torch.stack([network(images).float() for _ in range(passes)])


def _rate(layer: nn.Module) -> float:
    return layer.p if isinstance(layer, nn.Dropout) else float(getattr(layer, "rate", 0.0))


@contextmanager
def _switched_on(layers: Sequence[nn.Module]) -> Iterator[None]:
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.train(was)
