"""The fingerprint of a cohort and of a machine: what a plan is made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from resight.errors import CohortError, ImageError
from resight.imaging import read
from resight.models import ModelOptions, build_classifier, choose_device, with_channels_last
from resight.models.device import Device, Precision
from resight.training import TrainingOptions
from resight.training.precision import choose_precision, choose_threads, step_seconds
from resight.types import Cohort, Image, Mask, Targets, Task

_LOOKED_AT = 150
"""Images decoded for a fingerprint: enough for stable medians, seconds at most."""
_COLOUR_DIFFERENCE = 0.02
"""Mean difference of the colour channels above which a picture is really coloured, not grey stored as RGB."""
_PROBE: dict[int, dict[str, Any]] = {
    2: {"name": "resnet"},
    3: {"name": "resnet", "stem": "strided", "width": 32},
}
"""The networks that plans are made of."""
_PROBE_PX = {2: 64, 3: 48}
_PROBE_BATCH = {2: 16, 3: 2}
_PROBE_STEPS = 10
"""Timed steps; the fastest counts, as other programs can only slow a step down."""


@dataclass(frozen=True)
class Fingerprint:
    """What decides how to train on a cohort.

    Attributes:
        task: kind of classification.
        n_labels: L.
        images: number of images with a known label.
        patients: number of patients; None where not known.
        rarest: prevalence of the rarest state of any label, 0 to 0.5.
        dims: 2, or 3 for volumes.
        short_side_px: median of the shortest side.
        aspect_spread: 90th over 10th percentile of width over height; 1 when all images have the same shape.
        spacing_mm: median spacing along each axis of volumes; None for images.
        coloured: share of the images looked at that are really coloured.
        unreadable: share of the images looked at that could not be read.
        modalities: modality codes seen.
        has_split: the table names its own train and test images.
        extent_mm: what nine of ten volumes stay within along each axis; None for images and without spacings.
    """

    task: Task
    n_labels: int
    images: int
    patients: int | None
    rarest: float
    dims: int
    short_side_px: int
    aspect_spread: float
    spacing_mm: tuple[float, ...] | None
    coloured: float
    unreadable: float
    modalities: tuple[str, ...]
    has_split: bool
    extent_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Machine:
    """What decides how much training fits into a given time.

    Attributes:
        device: `cpu`, `cuda` or `mps`.
        precision: the faster number format, measured.
        cores: processor cores this process may use.
        pixels_per_s: prepared pixels that a ResNet-18 can train on per second, measured at 64 x 64, or at 48 x 48 x 48.
    """

    device: str
    precision: Precision
    cores: int
    pixels_per_s: float


def fingerprint(cohort: Cohort, seed: int = 0) -> Fingerprint:
    """Look at the table and at a sample of the images.

    Raises:
        CohortError: none of the images looked at can be read.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(cohort))[:_LOOKED_AT]
    images: list[Image] = []
    first_reason = ""
    for row in chosen:
        try:
            images.append(read(cohort.paths[row]))
        except ImageError as error:
            first_reason = first_reason or str(error)
    if not images:
        raise CohortError(
            f"none of {len(chosen)} images can be read", where=cohort.name, fix=f"The first: {first_reason}"
        )
    targets, mask = cohort.targets(), cohort.mask()
    dims = max(image.pixels.ndim - 1 for image in images)
    volumes = [image for image in images if image.pixels.ndim == 4]
    aspects = [image.pixels.shape[-1] / image.pixels.shape[-2] for image in images]
    low, high = np.percentile(aspects, [10, 90])
    return Fingerprint(
        task=cohort.task,
        n_labels=len(cohort.labels),
        images=int(mask.any(axis=1).sum()),
        patients=cohort.table["patient_id"].nunique() if "patient_id" in cohort.table.columns else None,
        rarest=_rarest(targets, mask),
        dims=dims,
        short_side_px=int(np.median([min(image.pixels.shape[1:]) for image in images])),
        aspect_spread=float(high / low),
        spacing_mm=_of_axes([v.spacing_mm for v in volumes], 50),
        extent_mm=_of_axes([np.multiply(v.spacing_mm, v.pixels.shape[1:]) for v in volumes], 90),
        coloured=float(np.mean([_is_coloured(image) for image in images])),
        unreadable=1 - len(images) / len(chosen),
        modalities=tuple(sorted({image.modality for image in images})),
        has_split="split" in cohort.table.columns,
    )


def measure_machine(channels: int, dims: int = 2, device: Device = "auto") -> Machine:
    """Time training steps of a ResNet-18 for some seconds."""
    place = choose_device(device)
    torch.manual_seed(0)
    model = build_classifier(ModelOptions(backbone=_PROBE[dims]), labels=("x",), channels=channels, dims=dims)
    model = with_channels_last(model.to(place)).train()
    shape = (_PROBE_BATCH[dims], channels, *[_PROBE_PX[dims]] * dims)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=place)
    precision = choose_precision(model, images, TrainingOptions(), place)
    every = torch.get_num_threads()
    torch.set_num_threads(choose_threads(model, images, precision, place))
    seconds = step_seconds(model, images, precision, place, trials=_PROBE_STEPS)
    torch.set_num_threads(every)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(place.type, precision, cores, images[:, 0].numel() / seconds)


def _of_axes(values: Sequence[ArrayLike], percent: float) -> tuple[float, ...] | None:
    """A percentile along each axis over the volumes whose spacing is known; None where there is none."""
    known = np.array([one for one in values if np.isfinite(np.asarray(one)).all()], dtype=float)
    return tuple(np.percentile(known, percent, axis=0).tolist()) if len(known) else None


def _rarest(targets: Targets, mask: Mask) -> float:
    known = [targets[mask[:, label], label] for label in range(targets.shape[1])]
    prevalence = np.array([values.mean() for values in known if len(values)])
    return float(np.minimum(prevalence, 1 - prevalence).min())


def _is_coloured(image: Image) -> bool:
    if image.pixels.shape[0] == 1:
        return False
    pixels = image.as_float()
    return bool(np.abs(pixels - pixels.mean(axis=0, keepdims=True)).mean() > _COLOUR_DIFFERENCE)
