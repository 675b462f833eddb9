"""The phantom cohort: drawn chest X-rays whose findings, shortcuts, biases and leaks are known, being planted.

Every image depends on the options and its index alone, never on which images were drawn before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jaxtyping import UInt8, UInt16

from resight.cohorts.phantom_anatomy import Plane, Region, draw_thorax
from resight.cohorts.phantom_body import sample_body
from resight.cohorts.phantom_cases import (
    FINDINGS,
    Case,
    PhantomOptions,
    cohort_row,
    describe_case,
    stream,
    truth_row,
    visibility,
)
from resight.cohorts.phantom_findings import Finding, alter_body, plant
from resight.errors import CohortError, writing
from resight.types import Cohort

SHORTCUT = "shortcut"
"""Key of the marker's mask."""
_MASK_NAMES = (*FINDINGS, SHORTCUT)
_SMALLEST_DRAWN_PX = 128  # ribs are a pixel wide there; smaller pictures are drawn at this size and averaged down
Picture = UInt8[np.ndarray, "H W"]
Masks = Mapping[str, Region]


@dataclass(frozen=True)
class PhantomImage:
    """One drawn image and all that is known of it.

    Attributes:
        pixels: the picture.
        masks: where each finding that was drawn can be seen, and the `shortcut` marker where there is one.
        row: its row of `cohort.csv`, as a hospital would hand it over.
        truth: its row of `truth.csv`: the findings really drawn, `marker`, `broken`, and the image it duplicates.
    """

    pixels: UInt8[np.ndarray, "H W"]
    masks: Mapping[str, Region]
    row: Mapping[str, Any]
    truth: Mapping[str, Any]


def render(options: PhantomOptions, index: int, *, without: Collection[Finding] = ()) -> PhantomImage:
    """Draw one image.

    Args:
        options: what the cohort is like.
        index: which image, 0 to `options.images - 1`.
        without: findings to leave away from the picture (not from the row), all else staying as it is.
    """
    case = describe_case(options, index)
    pixels, masks = _draw(options, case, without)
    if case.source != index and index % 2:  # every other duplicate is the same film, digitised again
        noise = stream(options, "rescan", index).normal(0.0, 1.5, pixels.shape)
        pixels = np.clip(pixels * 0.97 + 4.0 + noise, 0, 255).astype(np.uint8)
    return PhantomImage(pixels, masks, cohort_row(options, case), truth_row(options, case))


def write_phantom(options: PhantomOptions, folder: str | Path) -> Cohort:
    """Draw a cohort into a folder.

    Written are `images/*.png`, `cohort.csv` (what a hospital would hand over), `truth.csv` (what was planted) and, when
    asked for, `masks/*.png`, which `read_masks` reads.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    rows, truths = [], []
    with writing(folder):
        for part in ("images", "masks") if options.masks else ("images",):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for index in range(options.images):
            image = render(options, index)
            _write_png(folder / str(image.row["image"]), image.pixels)
            if options.masks:
                _write_png(folder / "masks" / f"{index:06d}.png", _packed(image.masks, options.size_px))
            rows.append(image.row)
            truths.append(image.truth)
        table = pd.DataFrame(rows)
        table.to_csv(folder / "cohort.csv", index=False, lineterminator="\n")
        pd.DataFrame(truths).to_csv(folder / "truth.csv", index=False, lineterminator="\n")
    task = "binary" if len(options.labels) == 1 else options.task
    return Cohort(table, options.labels, task, folder, "phantom", ("Drawn by Resight; no patient was involved.",))


def read_masks(path: Path) -> dict[str, Region]:
    """The masks of one image that `write_phantom` wrote, by finding.

    Raises:
        CohortError: no such file, or not one of the phantom's.
    """
    packed = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if packed is None or packed.dtype != np.uint16 or packed.ndim != 2:
        raise CohortError("no mask file of the phantom", where=str(path), expected="a 16-bit grey PNG")
    bits = np.asarray(packed, np.uint16)
    return {name: mask for bit, name in enumerate(_MASK_NAMES) if (mask := bits & (1 << bit) > 0).any()}


def _draw(options: PhantomOptions, case: Case, without: Collection[Finding]) -> tuple[Picture, Masks]:
    patient, index = case.patient, case.source
    plainness = visibility(options, case)
    shown: list[Finding] = [f for f in case.findings if f not in without]
    planted: dict[Finding, tuple[int, int]] = {f: (patient.number, FINDINGS.index(f)) for f in shown}
    body = sample_body(
        stream(options, "body", patient.number),
        stream(options, "pose", index),
        age=patient.age,
        sex=patient.sex,
        view=case.view,
    )
    for finding, numbers in planted.items():  # by patient: the nodule is where it was at the last visit
        body = alter_body(body, finding, stream(options, "finding", *numbers), plainness)
    thorax = draw_thorax(body, max(options.size_px, _SMALLEST_DRAWN_PX))
    masks: dict[str, Region] = {}
    for finding, numbers in planted.items():
        masks[finding] = plant(thorax, finding, stream(options, "finding", *numbers), plainness)
    pixels = _expose(options, case, thorax.tissue + thorax.markings)
    if case.marker:
        masks[SHORTCUT] = _stamp(pixels, stream(options, "marker", index, 1))
    if options.size_px < _SMALLEST_DRAWN_PX:
        pixels = _smaller(pixels, options.size_px)
        masks = {name: _smaller(mask * np.uint8(255), options.size_px) > 80 for name, mask in masks.items()}
    return _spoiled(options, case, pixels, masks)


def _expose(options: PhantomOptions, case: Case, attenuation: Plane) -> Picture:
    """Film, scatter and quantum noise; every site has a scanner of its own, portable ones are worse."""
    site, rng = stream(options, "scanner", ord(case.patient.site)), stream(options, "exposure", case.source)
    gamma, grain, sharpness = site.uniform((0.88, 0.8, 0.35), (1.12, 1.25, 0.6))
    contrast, offset = 0.98 + 0.025 * rng.normal(), 0.02 * rng.normal()
    if case.view == "AP":
        contrast, offset, grain = 0.84 * contrast, offset + 0.06, 1.5 * grain
    sigma = 0.010 * grain * (1 + 1.5 * options.difficulty)
    film = np.clip(contrast * attenuation + np.float32(offset), 0.0, 1.0) ** np.float32(gamma)
    film = cv2.GaussianBlur(film, (0, 0), sharpness * len(film) / _SMALLEST_DRAWN_PX)
    noise = rng.standard_normal(film.shape, dtype=np.float32)
    film += np.float32(sigma) * noise * (0.4 + film)  # fewer quanta arrive behind more tissue
    return np.clip(255.0 * film, 0, 255).astype(np.uint8)


def _stamp(pixels: Picture, rng: np.random.Generator) -> Region:
    """Put a bright plate with two dark bars into the upper left corner."""
    unit = len(pixels) / _SMALLEST_DRAWN_PX
    top, left = (rng.integers(4, 9, size=2) * unit).astype(int)
    height, width = round(10 * unit), round(14 * unit)
    mask = np.zeros(pixels.shape, bool)
    mask[top : top + height, left : left + width] = True
    pixels[mask] = 235
    for bar in (3, 8):
        start = left + round(bar * unit)
        pixels[top + round(2 * unit) : top + height - round(2 * unit), start : start + round(3 * unit)] = 60
    return mask


def _smaller(layer: Picture, size_px: int) -> Picture:
    return np.asarray(cv2.resize(layer, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)


def _spoiled(options: PhantomOptions, case: Case, pixels: Picture, masks: Masks) -> tuple[Picture, Masks]:
    if not (options.broken and case.broken):
        return pixels, masks
    match options.broken.fault:
        case "inverted":
            return 255 - pixels, masks
        case "drift":
            return np.clip(pixels * (1 + 0.8 * case.source / options.images), 0, 255).astype(np.uint8), masks
        case "rotated":
            return np.rot90(pixels).copy(), {name: np.rot90(mask).copy() for name, mask in masks.items()}


def _packed(masks: Masks, size_px: int) -> UInt16[np.ndarray, "H W"]:
    """All masks in one 16-bit picture, a bit each."""
    packed = np.zeros((size_px, size_px), np.uint16)
    for bit, name in enumerate(_MASK_NAMES):
        if name in masks:
            packed |= masks[name].astype(np.uint16) << bit
    return packed


def _write_png(path: Path, picture: Picture | UInt16[np.ndarray, "H W"]) -> None:
    encoded = cv2.imencode(".png", picture)[1]
    path.write_bytes(encoded.tobytes())
