"""`resight plan`: an experiment file in which every choice made from data and machine carries its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomli_w

from resight.cohorts import CohortOptions, load_cohort
from resight.errors import SettingsError
from resight.experiments.fingerprint import Fingerprint, Machine, fingerprint, measure_machine
from resight.experiments.settings import ExperimentSettings
from resight.settings import validate
from resight.types import Cohort

_SIZES_PX = (32, 64, 96, 128, 160, 192, 224, 288, 320, 384, 448, 512)
_VOLUME_SIZES_PX = (32, 48, 64, 96, 128)
_SMALLEST_PX = {2: 96, 3: 48}
"""Below this findings are a pixel wide: a plan takes longer than asked for rather than going there."""
_THICK = 2.0
"""Distance of slices over spacing within them from which a stride along the depth would skip too much."""
_FEWEST_EPOCHS, _MOST_EPOCHS = 15, 60
_SAMPLES_SEEN = 20_000
"""Images shown to a small network until its validation AUROC stops rising; below this, longer is better."""


@dataclass(frozen=True)
class Choice:
    """One setting and why it has its value."""

    section: str
    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class _Grid:
    """The network's grid, its spacing (empty where images have none), how long to train on it, and why."""

    size_px: list[int]
    spacing_mm: list[float]
    epochs: int
    reason: str


def plan_experiment(options: CohortOptions, minutes: float) -> tuple[str, ExperimentSettings]:
    """Look at a cohort and this machine, and choose.

    Args:
        options: where the cohort is and how to read it.
        minutes: training time to aim at, for one network on this machine.

    Returns:
        The experiment file as TOML with reasons, and the same as settings.

    Raises:
        CohortError: the cohort cannot be read.
        SettingsError: no time to train.
    """
    if not minutes > 0:
        raise SettingsError(f"minutes = {minutes:g}", where="plan", expected="more than 0")
    cohort = load_cohort(options)
    found = fingerprint(cohort)
    machine = measure_machine(channels=3 if found.coloured > 0.5 else 1, dims=found.dims)
    choices = list(_choices(found, machine, minutes))
    text = _toml(options, cohort, found, machine, choices)
    data: dict[str, Any] = {"cohort": options.model_dump(exclude_none=True)}
    for choice in choices:
        section = data
        for part in filter(None, choice.section.split(".")):
            section = section.setdefault(part, {})
        section[choice.key] = choice.value
    return text, validate(ExperimentSettings, data, where="plan")


def _choices(found: Fingerprint, machine: Machine, minutes: float) -> Iterator[Choice]:
    grid = _volume_grid(found, machine, minutes)
    if grid is None:
        size, epochs, why_size = _size_and_epochs(found, machine, minutes)
        grid = _Grid([size] * found.dims, [], epochs, why_size)
    size, epochs = min(grid.size_px), grid.epochs
    yield from _split_choices(found)
    yield Choice("recipe", "size_px", grid.size_px, grid.reason)
    coloured = found.coloured > 0.5
    yield Choice(
        "recipe", "channels", 3 if coloured else 1, f"{found.coloured:.0%} of the images looked at are in colour"
    )
    wide = found.aspect_spread > 1.1
    reason = f"width over height varies by a factor of {found.aspect_spread:.2f}"
    yield Choice("recipe", "resize", "letterbox" if wide else "stretch", reason + ("; shapes are kept" if wide else ""))
    if grid.spacing_mm:
        yield Choice("recipe", "spacing_mm", grid.spacing_mm, "the grid covers what nine of ten volumes show")
    yield from _augmentation_choices(coloured=coloured)
    depth = 18 if found.images < 20_000 else 34 if machine.device == "cpu" else 50
    yield Choice("model.backbone", "name", "resnet", "")
    yield Choice("model.backbone", "depth", depth, f"{found.images} images; deeper networks overfit small cohorts")
    yield from _stem_choices(found.dims, size)
    if grid.spacing_mm and grid.spacing_mm[0] >= _THICK * min(grid.spacing_mm[1:]):
        yield Choice("model.backbone", "stem_depth_stride", 1, "slices are thick: the stem leaves the depth as it is")
    batch = 32 if found.images >= 500 else 16
    batch = 8 if found.dims == 3 else batch
    yield Choice("model.backbone", "norm", "batch" if batch >= 16 else "group", f"batches hold {batch} images")
    yield Choice(
        "training", "batch_size", batch, f"{found.images} images give about {found.images // batch} steps an epoch"
    )
    yield Choice("training", "epochs", epochs, f"for about {minutes:g} minutes on this machine ({machine.device})")
    yield Choice("training", "precision", machine.precision, "the faster one of fp32 and bf16, measured here")
    rare = found.rarest < 0.02
    reason = f"the rarest label state makes up {found.rarest:.1%}"
    reason += "; drawn more often" if rare else "; calibrated scores need no reweighting"
    yield Choice("training", "imbalance", "balanced_sampler" if rare else "none", reason)
    method = "temperature" if found.images < 5_000 or found.task == "multiclass" else "platt"
    yield Choice(
        "calibration",
        "method",
        method,
        "one parameter per label, as validation is small" if method == "temperature" else "",
    )
    count, unit = (found.patients, "patients") if found.patients else (found.images, "images")
    folds_reason = (
        f"only {count} {unit}: set 5 for narrower intervals at five times the cost"
        if count < 1_000
        else f"enough {unit} for one split"
    )
    yield Choice("", "folds", 0, folds_reason)


def _stem_choices(dims: int, size: int) -> Iterator[Choice]:
    if dims == 3:
        yield Choice(
            "model.backbone", "stem", "strided", "3x3x3 filters with stride 2: pooling would hide small findings"
        )
        yield Choice("model.backbone", "width", 32, "volumes have many voxels")
    elif size <= 64:
        yield Choice("model.backbone", "stem", "cifar", "3x3 filters and no pooling, as images are small")
    else:
        yield Choice("model.backbone", "stem", "imagenet", "7x7 filters with stride 2, as usual")


def _volume_grid(found: Fingerprint, machine: Machine, minutes: float) -> _Grid | None:
    """The finest grid over the volumes' extent at which enough epochs fit the time; no axis finer than its voxels.

    Returns:
        None for images, and for volumes of unknown spacing.
    """
    if found.spacing_mm is None or found.extent_mm is None:
        return None
    trained, budget = found.images * 0.7, minutes * 60 * machine.pixels_per_s
    wanted = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(_SAMPLES_SEEN / max(trained, 1))))
    chosen: tuple[list[int], list[float]] | None = None
    for sides in _VOLUME_SIZES_PX:
        spacing = [max(max(found.extent_mm) / sides, own) for own in found.spacing_mm]
        size = [max(16, 8 * math.ceil(e / s / 8 - 0.02)) for e, s in zip(found.extent_mm, spacing, strict=True)]
        if sides > _SMALLEST_PX[3] and wanted * trained * math.prod(size) > budget:
            break
        chosen = size, [round(s, 2) for s in spacing]
    assert chosen is not None  # the smallest grid is always taken
    size, spacing = chosen
    epochs = int(min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, budget / (trained * math.prod(size)))))
    extent = " x ".join(f"{e:.0f}" for e in found.extent_mm)
    needed = epochs * trained * math.prod(size) / machine.pixels_per_s / 60
    late = f"; about {needed:.0f} minutes" if needed > 1.5 * minutes else ""
    return _Grid(size, spacing, epochs, f"volumes reach over {extent} mm{late}")


def _size_and_epochs(found: Fingerprint, machine: Machine, minutes: float) -> tuple[int, int, str]:
    """The largest size at which enough epochs fit the time."""
    sizes = _SIZES_PX if found.dims == 2 else _VOLUME_SIZES_PX
    trained = found.images * 0.7
    budget = minutes * 60 * machine.pixels_per_s
    wanted = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(_SAMPLES_SEEN / max(trained, 1))))
    usable = [s for s in sizes if s <= max(found.short_side_px, sizes[0])]
    usable = [s for s in usable if s >= min(_SMALLEST_PX[found.dims], usable[-1])]
    affordable = [s for s in usable if wanted * trained * s**found.dims <= budget] or [usable[0]]
    cap = 224 if found.dims == 2 and machine.device == "cpu" else sizes[-1]
    size = max(s for s in affordable if s <= cap)
    epochs = int(min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, budget / (trained * size**found.dims))))
    limit = (
        "the images themselves"
        if size == usable[-1]
        else "the time asked for"
        if size < cap
        else "what ResNets are made for"
    )
    minutes_needed = epochs * trained * size**found.dims / machine.pixels_per_s / 60
    if minutes_needed > 1.5 * minutes:
        limit += f", and still about {minutes_needed:.0f} minutes"
    reason = f"short sides are {found.short_side_px} px at the median; limited by {limit}"
    return size, epochs, reason


def _split_choices(found: Fingerprint) -> Iterator[Choice]:
    if found.has_split:
        yield Choice("split", "column", "split", "the table names its own splits")
    if found.patients is None:
        yield Choice("split", "group", "none", "NO PATIENT IDENTIFIER: splits may share patients; give one if you can")
    else:
        yield Choice("split", "group", "patient_id", f"{found.patients} patients; none is in two splits")


def _augmentation_choices(*, coloured: bool) -> Iterator[Choice]:
    if coloured:
        yield Choice("augmentation", "flip", 0.5, "photographs of lesions have no right way up")
        yield Choice("augmentation", "flip_vertical", 0.5, "")
        yield Choice("augmentation", "rotate_deg", 180.0, "")
        yield Choice("augmentation", "hue_deg", 10.0, "cameras and lights differ")
        yield Choice("augmentation", "saturation", 0.2, "")
    else:
        yield Choice("augmentation", "rotate_deg", 10.0, "patients are not placed exactly; no flips, as sides differ")
    yield Choice("augmentation", "scale", 0.1, "distances differ")
    yield Choice("augmentation", "translate", 0.05, "")
    yield Choice("augmentation", "gain", 0.1, "exposures differ")


def _toml(options: CohortOptions, cohort: Cohort, found: Fingerprint, machine: Machine, choices: list[Choice]) -> str:
    lines = [
        f"# Experiment on {cohort.name}: {found.images} images, {found.patients or 'unknown'} patients, {found.task}.",
        f"# Planned for {machine.cores} cores, device {machine.device}; change what you know better.",
        *(f"# Note: {note}" for note in cohort.notes),
        "",
    ]
    top = [choice for choice in choices if not choice.section]
    lines += [_line("name", cohort.name, ""), *(_line(c.key, c.value, c.reason) for c in top), "", "[cohort]"]
    lines += tomli_w.dumps(options.model_dump(mode="json", exclude_none=True, exclude_defaults=True)).splitlines()
    for section in dict.fromkeys(choice.section for choice in choices if choice.section):
        lines += ["", f"[{section}]"]
        lines += [_line(c.key, c.value, c.reason) for c in choices if c.section == section]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, reason: str) -> str:
    text = tomli_w.dumps({key: value}).strip().replace("\n    ", " ").replace(",\n", " ").replace("\n", " ")
    return f"{text}  # {reason}" if reason else text
