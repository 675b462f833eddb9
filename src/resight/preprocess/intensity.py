"""Grey levels of MR images brought to one scale: MR signal has no unit, so the same tissue differs from scan to scan.

Statistics are those of the subject alone (foreground after Otsu 1979); z-scores are among the methods that Reinhold et
al. 2019, "Evaluating the impact of intensity normalization on MR image synthesis", compare.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from resight.types import FloatPixels

Standardisation = Literal["z-score", "percentile", "median"]

_DEVIATIONS = 3.0
"""Half the range of z-scores that is kept: of normally distributed grey levels all but 0.3 %."""
_PERCENTILES = (1.0, 99.0)
"""Black and white: one hundredth of the subject at either end is clipped."""
_SPREADS = 4.0
"""Interquartile ranges from the median to black and to white: 5.4 deviations of normally distributed grey levels."""
_BRIGHTEST = 98.0
"""Percentile above which grey levels do not move the median's mask: a finding fills less of an image than the rest."""
_LEAST_CONTRAST = 1 / 255


def standardise(pixels: FloatPixels, method: Standardisation) -> FloatPixels:
    """Grey levels relative to those of the subject; each channel by itself.

    Args:
        pixels: in [0, 1].
        method: `z-score`: mean and standard deviation of the subject become 0.5 and 1/6, everything around it 0;
            `median`: median and interquartile range become 0.5 and 1/8, everything around it 0, so that a small bright
            finding does not move the grey of all else; `percentile`: the subject's 1st and 99th percentile become 0 and
            1.

    Returns:
        The same shape in [0, 1]. A channel without contrast comes back unchanged.
    """
    return np.stack([_standardised(channel, method) for channel in pixels])


def subject_mask(channel: Float[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """Where the subject is: the largest connected part above Otsu's threshold, holes filled.

    Args:
        channel: grey levels in [0, 1] on a darker surround.

    Returns:
        All true where there is no contrast to tell subject from surround.
    """
    smooth = ndimage.uniform_filter(channel, size=3)
    bright = smooth > _otsu(smooth)
    if not bright.any():
        return np.ones(channel.shape, dtype=bool)
    parts = np.zeros(channel.shape, dtype=np.int32)
    ndimage.label(bright, output=parts)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(parts == largest))


def _standardised(channel: Float[np.ndarray, "*space"], method: Standardisation) -> Float[np.ndarray, "*space"]:
    mask = subject_mask(np.minimum(channel, np.percentile(channel, _BRIGHTEST)) if method == "median" else channel)
    subject = channel[mask]
    if method == "z-score":
        low, width = subject.mean() - _DEVIATIONS * subject.std(), 2 * _DEVIATIONS * subject.std()
    elif method == "median":
        first, middle, third = np.percentile(subject, (25, 50, 75))
        low, width = middle - _SPREADS * (third - first), 2 * _SPREADS * (third - first)
    else:
        low, high = np.percentile(subject, _PERCENTILES)
        width = high - low
    if width < _LEAST_CONTRAST:
        return channel
    scaled = np.clip((channel - low) / width, 0.0, 1.0).astype(np.float32)
    return scaled if method == "percentile" else np.where(mask, scaled, np.float32(0))


def _otsu(values: Float[np.ndarray, "*space"]) -> float:
    """The threshold that divides the grey levels into the two classes that differ most."""
    low, high = float(values.min()), float(values.max())
    if high - low < _LEAST_CONTRAST:
        return high
    levels = np.rint((values.ravel() - low) * (255 / (high - low))).astype(np.uint8)[None]
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + (threshold + 0.5) * (high - low) / 255
