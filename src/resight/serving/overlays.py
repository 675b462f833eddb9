"""Pictures over pictures: evidence as a transparent PNG in the colour of its label."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_HUES: Final = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
"""Okabe and Ito's colours, which people with any colour vision tell apart."""
_LOWEST_EVIDENCE: Final = 0.15
"""Share of the strongest evidence below which nothing is drawn."""


def coloured(evidence: Float[np.ndarray, "H W"], strongest: float, place: int) -> UInt8[np.ndarray, "H W 4"]:
    """Evidence in one colour, blue first as OpenCV has it: the stronger, the more it hides of what is below it.

    Args:
        evidence: on an image, or on one slice of a volume.
        strongest: in the whole image or volume.
        place: of the label among those of its model, which gives the colour.
    """
    share = np.clip(evidence / strongest, 0, 1) if strongest > 0 else np.zeros_like(evidence)
    plane = np.empty((*evidence.shape, 4), np.uint8)
    plane[..., :3] = _HUES[place % len(_HUES)][::-1]
    plane[..., 3] = np.rint(np.where(share < _LOWEST_EVIDENCE, 0, share) * 255)
    return plane


def png(pixels: UInt8[np.ndarray, "H W C"]) -> bytes:
    """A picture as the bytes of a PNG file; colours blue first."""
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()
