"""Colour constancy: a picture as it would look under white light (Finlayson & Trezzi 2004, "Shades of gray")."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from resight.types import Pixels

_POWER = 6
"""Norm by which the light is estimated; the one that did best in the paper, between the mean and the maximum."""
_DARKEST = 1e-3
"""Least share of light a channel is taken to have, so that an empty channel stays empty."""


def shades_of_grey(pixels: Pixels) -> Pixels:
    """Scale the channels so that their sixth-power means are equal; brightness as a whole stays.

    Args:
        pixels: `(3, ...)`, `uint8`, or floats in [0, 1]; grey pictures `(1, ...)` are given back as they are.
    """
    if len(pixels) != 3:
        return pixels
    light = np.array([_norm(channel) for channel in pixels])
    if not light.any():
        return pixels
    light = np.maximum(light / np.linalg.norm(light), _DARKEST)
    gains = 1.0 / (np.sqrt(3.0) * light)
    if pixels.dtype != np.uint8:
        return np.clip(pixels * gains.reshape(3, *[1] * (pixels.ndim - 1)), 0.0, 1.0).astype(pixels.dtype)
    tables = np.rint(np.clip(gains[:, None] * np.arange(256), 0, 255)).astype(np.uint8)
    return np.stack([table[channel] for table, channel in zip(tables, pixels, strict=True)])


def _norm(channel: Float[np.ndarray, "*space"]) -> float:
    if channel.dtype != np.uint8:
        return float(np.mean(np.asarray(channel, dtype=np.float64) ** _POWER) ** (1 / _POWER))
    counts = np.bincount(channel.ravel(), minlength=256)
    return float((counts @ np.linspace(0.0, 1.0, 256) ** _POWER / channel.size) ** (1 / _POWER))
