"""Does a network read what is no anatomy: markers in corners, borders, black frames, colour.

Parts of the images are exchanged between patients (permutation importance, Breiman 2001, section 10, on pixels: what a
part looks like stays, what it goes along with is lost), plates are put into corners, frames are blackened, colour is
taken away. A network that looks at the findings hardly notices. What it loses, or how far its scores move, is tested by
patient; all tests of one search are corrected together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, UInt8
from pydantic import Field
from scipy.stats import t

from resight.errors import DataError
from resight.evaluation.delong import auroc_with_interval, paired_difference
from resight.evaluation.discrimination import Values
from resight.evaluation.options import Share
from resight.evaluation.significance import holm
from resight.fairness.differences import mean_by_patient
from resight.fairness.measures import few_of_a_class, few_patients
from resight.fairness.probes import chance_p
from resight.settings import Options
from resight.types import Mask, MetricValue, Scores, Targets

Pixels = UInt8[np.ndarray, "N C *space"]
Area = Bool[np.ndarray, "H W"]
Owners = Int[np.ndarray, " N"]

_CORNERS = ("upper left", "upper right", "lower left", "lower right")
_EDGES = ("upper", "lower", "left", "right")
_BRIGHT, _DARK = 235, 0


class PixelOptions(Options):
    """Sizes of what is changed, and from when on a change is a suspicion."""

    corner: Share = Field(default=0.2, description="side of a corner, as a share of the image's")
    border: Share = Field(default=0.1, description="width of an edge or frame, as a share of the side")
    plate: Share = Field(default=0.1, description="side of a plate put into a corner, as a share of the image's")
    alpha: Share = Field(default=0.05, description="a corrected p below this is no chance")
    least_loss: Share = Field(default=0.05, description="AUROC that must be lost, or be left by the border above 0.5")
    least_shift: float = Field(
        default=0.75, gt=0, description="shift that counts, in standard deviations of the logits"
    )
    min_patients: int = Field(default=10, ge=2, description="patients of both classes that a test needs")
    seed: int = Field(default=0, ge=0, description="of who gives pixels to whom")


@dataclass(frozen=True)
class PixelTest:
    """One change of the pixels and one label.

    Attributes:
        change: what was done.
        label: whose score was looked at.
        measure: `AUROC lost`, `AUROC of the border alone`, or `shift of the score` (of images without the finding, in
            standard deviations of all logits).
        value: with the interval by patient.
        p: corrected by Holm over all tests of the search.
        suspect: whether it is both beyond chance and large enough to matter.
    """

    change: str
    label: str
    measure: str
    value: MetricValue
    p: float
    suspect: bool = False


@dataclass(frozen=True)
class _Change:
    name: str
    measure: str
    pixels: Pixels


def search_pixels(
    pixels: Pixels,
    predict: Callable[[Pixels], Scores],
    targets: Targets,
    mask: Mask,
    labels: Sequence[str],
    patients: Owners,
    options: PixelOptions | None = None,
) -> tuple[PixelTest, ...]:
    """Change what should not matter and see what the network makes of it.

    Args:
        pixels: prepared images `(N, C, H, W)` or volumes `(N, C, D, H, W)`, of which every slice is changed alike.
        predict: logits `(N, L)` of such pixels.
        targets: `(N, L)`.
        mask: where a target counts.
        labels: names of the labels.
        patients: number of each image's patient.
        options: sizes and limits.

    Returns:
        One test a change and label, suspicions first.

    Raises:
        DataError: fewer than two patients.
    """
    options = options or PixelOptions()
    if len(np.unique(patients)) < 2:
        raise DataError("one patient", where="search for shortcuts", expected="two or more, who exchange pixels")
    before = predict(pixels)
    found = [
        _tested(
            change, label, before[:, column], after[:, column], targets[:, column], mask[:, column], patients, options
        )
        for change in _changes(pixels, patients, options)
        for after in [predict(change.pixels)]
        for column, label in enumerate(labels)
    ]
    corrected = [replace(test, p=p) for test, p in zip(found, holm([test.p for test in found]), strict=True)]
    judged = [replace(test, suspect=_is_suspect(test, options)) for test in corrected]
    return tuple(sorted(judged, key=lambda test: not test.suspect))


def _changes(pixels: Pixels, patients: Owners, options: PixelOptions) -> Iterator[_Change]:
    height, width = pixels.shape[-2:]
    corner = _corners(height, width, options.corner)
    edge = _edges(height, width, options.border)
    frame = np.logical_or.reduce(list(edge.values()))
    donors = pixels[_donors(patients, options.seed)]
    areas = {f"{name} corner": area for name, area in corner.items()}
    areas |= {f"{name} edge": area for name, area in edge.items()}
    for name, area in areas.items():
        yield _Change(f"{name} exchanged between patients", "AUROC lost", np.where(area, donors, pixels))
    yield _Change(
        "all but the frame exchanged between patients", "AUROC of the border alone", np.where(frame, pixels, donors)
    )
    for name, area in _plates(height, width, options.plate).items():
        for tone, words in ((_BRIGHT, "bright"), (_DARK, "dark")):
            changed = np.where(area, np.uint8(tone), pixels)
            yield _Change(f"{words} plate put into the {name} corner", "shift of the score", changed)
    yield _Change("frame blackened", "shift of the score", np.where(frame, np.uint8(_DARK), pixels))
    if pixels.shape[1] == 3 and (pixels != pixels[:, :1]).any():
        grey = np.rint(np.tensordot(np.array([0.299, 0.587, 0.114]), pixels, axes=(0, 1))).astype(np.uint8)
        yield _Change("colour taken away", "AUROC lost", np.repeat(grey[:, None], 3, axis=1))


def _corners(height: int, width: int, share: float) -> dict[str, Area]:
    rows, columns = max(round(share * height), 1), max(round(share * width), 1)
    places = ((slice(None, rows), slice(None, columns)), (slice(None, rows), slice(-columns, None)))
    places += ((slice(-rows, None), slice(None, columns)), (slice(-rows, None), slice(-columns, None)))
    return {name: _area(height, width, place) for name, place in zip(_CORNERS, places, strict=True)}


def _plates(height: int, width: int, share: float) -> dict[str, Area]:
    """A plate in each corner, half its own size away from the edges."""
    rows, columns = max(round(share * height), 1), max(round(share * width), 1)
    top, left = rows // 2, columns // 2
    down, across = slice(top, top + rows), slice(left, left + columns)
    up, back = slice(height - top - rows, height - top), slice(width - left - columns, width - left)
    places = ((down, across), (down, back), (up, across), (up, back))
    return {name: _area(height, width, place) for name, place in zip(_CORNERS, places, strict=True)}


def _edges(height: int, width: int, share: float) -> dict[str, Area]:
    rows, columns, whole = max(round(share * height), 1), max(round(share * width), 1), slice(None)
    places = ((slice(None, rows), whole), (slice(-rows, None), whole), (whole, slice(None, columns)))
    return {
        name: _area(height, width, place)
        for name, place in zip(_EDGES, (*places, (whole, slice(-columns, None))), strict=True)
    }


def _area(height: int, width: int, place: tuple[slice, slice]) -> Area:
    area = np.zeros((height, width), dtype=bool)
    area[place] = True
    return area


def _donors(patients: Owners, seed: int) -> Owners:
    """For every image one of another patient, each about as often."""
    order = np.random.default_rng(seed).permutation(len(patients))
    donors = np.empty(len(patients), dtype=np.int64)
    for place, row in enumerate(order):
        behind = np.roll(order, -place - 1)
        donors[row] = behind[np.flatnonzero(patients[behind] != patients[row])[0]]
    return donors


def _tested(
    change: _Change,
    label: str,
    before: Values,
    after: Values,
    targets: Values,
    mask: Bool[np.ndarray, " N"],
    patients: Owners,
    options: PixelOptions,
) -> PixelTest:
    rows = mask & np.isin(targets, (0.0, 1.0))
    y, owner, logits, changed = targets[rows], patients[rows], before[rows], after[rows]
    reason = few_of_a_class(y, owner, options.min_patients)
    if change.measure == "shift of the score":
        reason = few_patients(owner[y == 0], "negatives", options.min_patients)
    if reason:
        return PixelTest(change.name, label, change.measure, MetricValue.undefined(reason, len(y)), math.nan)
    if change.measure == "AUROC lost":
        value, p = paired_difference(y, np.stack([changed, logits]), owner)
        return PixelTest(change.name, label, change.measure, value, p)
    if change.measure == "AUROC of the border alone":
        value = auroc_with_interval(y, changed, owner)
        return PixelTest(change.name, label, change.measure, value, chance_p(value))
    moved = (changed - logits)[y == 0] / max(float(logits.std()), np.finfo(float).tiny)
    value = mean_by_patient(moved, owner[y == 0], 0.95)
    return PixelTest(change.name, label, change.measure, value, _mean_p(value, len(np.unique(owner[y == 0])) - 1))


def _mean_p(value: MetricValue, freedom: int) -> float:
    """Two-sided p that a mean is 0, from its interval."""
    error = (value.high - value.low) / (2 * float(t.isf(0.025, freedom)))
    if error == 0:
        return 1.0 if value.value == 0 else 0.0
    return 2 * float(t.sf(abs(value.value) / error, freedom))


def _is_suspect(test: PixelTest, options: PixelOptions) -> bool:
    least = {
        "AUROC lost": test.value.value >= options.least_loss,
        "AUROC of the border alone": test.value.value >= 0.5 + options.least_loss,
        "shift of the score": abs(test.value.value) >= options.least_shift,
    }
    return test.p < options.alpha and least[test.measure]
