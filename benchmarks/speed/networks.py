"""A peer's ResNet as one of Resight's, with the same weights."""

from __future__ import annotations

from torch import nn

from resight.models import Classifier, ModelOptions, build_classifier


def with_weights_of(
    peer: nn.Module, depth: int, labels: tuple[str, ...], *, channels: int = 3, dims: int = 2
) -> tuple[Classifier, ModelOptions]:
    """Our network of that depth, and the options that a bundle of it needs; the peer's weights are copied."""
    options = ModelOptions(backbone={"name": "resnet", "depth": depth})
    network = build_classifier(options, labels=labels, channels=channels, dims=dims)
    state = dict(peer.state_dict())
    network.head.load_state_dict({f"fc.{name}": state.pop(f"fc.{name}") for name in ("weight", "bias")})
    network.backbone.load_state_dict(state)
    return network, options
