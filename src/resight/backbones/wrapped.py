"""The network that a wrapping backbone carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resight.backbones.base import BACKBONES, Backbone
from resight.errors import SettingsError

_OF_THE_WHOLE = ("num_classes", "auxiliary_classes", "gate_target")
"""Options that belong to the outermost backbone: last layers, and gates, whose work is counted for a whole image."""


def inner_network(part: Mapping[str, Any], *, where: str, in_channels: int, dims: int) -> Backbone:
    """Build the network that another backbone shows parts of an image to.

    Args:
        part: `name` of a backbone and its options.
        where: name of the outer backbone, for the message.
        in_channels: channels of the parts.
        dims: their spatial dimensions.

    Raises:
        SettingsError: no name, a backbone that wraps another one itself, or options that belong to the whole.
    """
    options = dict(part)
    name = options.pop("name", None)
    place = f"backbone {where!r}: network"
    if not isinstance(name, str):
        raise SettingsError("no name", where=place, expected="`name` of a backbone, and its options")
    for key in _OF_THE_WHOLE:
        if options.get(key):
            raise SettingsError(f"{key} = {options[key]}", where=place, fix=f"Leave {key} away here.")
    network: Backbone = BACKBONES.build(name, options, in_channels=in_channels, dims=dims)
    if network.published is not network:
        raise SettingsError(f"{name!r} carries a network itself", where=place, expected="a network of layers")
    return network
