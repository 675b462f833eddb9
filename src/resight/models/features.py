"""What the head of a bundle's network takes, for probes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from resight.errors import ImageError
from resight.models.bundle import Bundle
from resight.models.device import channels_last, with_channels_last
from resight.types import PreparedImage, Progress, silent


def image_features(
    bundle: Bundle, images: Sequence[Path], *, batch: int = 32, progress: Progress = silent
) -> Float[np.ndarray, "N F"]:
    """Features of image files; of an ensemble those of its first member. NaN for a file that cannot be used.

    Args:
        bundle: from `load_bundle`.
        images: files, or DICOM series folders.
        batch: images that go through the network together.
        progress: told after every batch.
    """
    network = with_channels_last(bundle.members[0])
    features = np.full((len(images), network.backbone.feature_dim), np.nan)
    for start in range(0, len(images), batch):
        prepared: dict[int, PreparedImage] = {}
        for row in range(start, min(start + batch, len(images))):
            try:
                prepared[row] = bundle.manifest.recipe.prepare(images[row])
            except ImageError:
                continue
        if prepared:
            with torch.inference_mode():
                stack = torch.from_numpy(np.stack(list(prepared.values())))
                features[list(prepared)] = network.features(channels_last(stack)).double().numpy()
        progress("features", min(start + batch, len(images)), len(images), "")
    return features
