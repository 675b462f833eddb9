"""How a picture was taken, in three numbers: what a new scanner or another exposure changes first."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

TONES = ("brightness", "contrast", "sharpness")


def tone(image: UInt8[np.ndarray, "C *space"]) -> dict[str, float]:
    """Brightness, contrast and sharpness of a prepared image; of a volume its middle slice counts.

    Args:
        image: `uint8 (C, H, W)` or `(C, D, H, W)`.

    Returns:
        Mean and standard deviation of the grey levels (0 to 255), and the mean absolute Laplacian divided by that
        standard deviation (0 for a constant image), which falls with blur and rises with noise.
    """
    plane = image[:, image.shape[1] // 2] if image.ndim == 4 else image
    grey = plane[0].astype(np.float32) if len(plane) == 1 else plane.mean(axis=0, dtype=np.float32)
    mean, deviation = (float(each[0, 0]) for each in cv2.meanStdDev(grey))
    edges = cv2.norm(cv2.Laplacian(grey, cv2.CV_32F), cv2.NORM_L1) / grey.size
    return dict(zip(TONES, (mean, deviation, edges / deviation if deviation > 0 else 0.0), strict=True))
