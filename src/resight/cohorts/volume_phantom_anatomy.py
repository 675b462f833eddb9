"""The bodies of the volume phantom: ellipsoids and tubes filled in millimetres, one over the other.

Coordinates are millimetres from the middle of the field of view: z to superior, y to posterior, x to the patient's
left. CT values are Hounsfield units; MR values run from 0 (air) to about 1 (a lesion), as in a FLAIR image with fat
suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Kind = Literal["ct", "mr"]
Volume = Float[np.ndarray, "D H W"]
Region = Bool[np.ndarray, "D H W"]
Point = tuple[float, float, float]

FIELD_MM: dict[Kind, Point] = {"ct": (270.0, 250.0, 350.0), "mr": (170.0, 210.0, 170.0)}
"""What is imaged, along z, y, x."""
_AIR, _LUNG, _FAT, _TISSUE, _BLOOD, _BONE = -1000.0, -860.0, -90.0, 45.0, 55.0, 450.0


@dataclass(frozen=True)
class Lesion:
    """A nodule or white-matter lesion.

    Attributes:
        centre_mm: z, y, x.
        radii_mm: half axes along z, y, x.
    """

    centre_mm: Point
    radii_mm: Point


class Canvas:
    """A volume that shapes are filled into, one over the other.

    Args:
        field_mm: extent along z, y, x.
        spacing_mm: side of its cubic voxels.
        value: what is everywhere at first.
    """

    def __init__(self, field_mm: Point, spacing_mm: float, value: float) -> None:
        self.spacing_mm = spacing_mm
        shape = [round(side / spacing_mm) for side in field_mm]
        self.axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(spacing_mm) for n in shape]
        self.values: Volume = np.full(shape, value, np.float32)

    def ellipsoid(self, centre: Point, radii: Point, value: float) -> None:
        """Fill an ellipsoid; its edge is one voxel wide."""
        box = self._box(centre, radii)
        self._blend(box, self._ellipsoid_distance(box, centre, radii), value)

    def tube(self, points: Float[np.ndarray, "N 3"], radius: float | Float[np.ndarray, " N"], value: float) -> None:
        """Fill a tube along points, each stretch with the radius at its first point."""
        widths = np.broadcast_to(np.asarray(radius, float), len(points))
        for a, b, width in zip(points[:-1], points[1:], widths, strict=False):
            middle, half = (a + b) / 2, np.abs(b - a) / 2 + width
            box = self._box(tuple(middle), tuple(half))
            z, y, x = self._grid(box)
            along = b - a
            t = ((z - a[0]) * along[0] + (y - a[1]) * along[1] + (x - a[2]) * along[2]) / max(
                float(along @ along), 1e-6
            )
            t = np.clip(t, 0.0, 1.0)
            squared = (z - a[0] - t * along[0]) ** 2 + (y - a[1] - t * along[1]) ** 2 + (x - a[2] - t * along[2]) ** 2
            self._blend(box, np.sqrt(squared) - width, value)

    def inside(self, lesion: Lesion) -> Region:
        """The voxels whose middle lies in a lesion."""
        region = np.zeros(self.values.shape, bool)
        box = self._box(lesion.centre_mm, lesion.radii_mm)
        region[box] = self._ellipsoid_distance(box, lesion.centre_mm, lesion.radii_mm) <= 0
        return region

    def at(self, point: Point) -> float:
        """The value of the voxel around a point."""
        index = tuple(int(np.abs(axis - at).argmin()) for axis, at in zip(self.axes, point, strict=True))
        return float(self.values[index])

    def _box(self, centre: Point, half: Point) -> tuple[slice, slice, slice]:
        def part(axis: np.ndarray, at: float, reach: float) -> slice:
            first, last = np.searchsorted(axis, (at - reach - self.spacing_mm, at + reach + self.spacing_mm))
            return slice(int(first), int(last))

        one, two, three = (part(axis, c, h) for axis, c, h in zip(self.axes, centre, half, strict=True))
        return one, two, three

    def _grid(self, box: tuple[slice, slice, slice]) -> tuple[Volume, Volume, Volume]:
        z, y, x = (axis[part] for axis, part in zip(self.axes, box, strict=True))
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def _ellipsoid_distance(self, box: tuple[slice, slice, slice], centre: Point, radii: Point) -> Volume:
        z, y, x = self._grid(box)
        relative = [(axis - c) / r for axis, c, r in zip((z, y, x), centre, radii, strict=True)]
        return (np.sqrt(relative[0] ** 2 + relative[1] ** 2 + relative[2] ** 2) - 1.0) * min(radii)

    def _blend(self, box: tuple[slice, slice, slice], distance_mm: Volume, value: float) -> None:
        part = self.values[box]
        part += np.clip(0.5 - distance_mm / self.spacing_mm, 0.0, 1.0).astype(np.float32) * (np.float32(value) - part)


def draw_thorax(
    rng: np.random.Generator, spacing_mm: float, lesions: int, contrast: float
) -> tuple[Canvas, list[Lesion]]:
    """A CT of the chest: lungs with vessels, heart, diaphragm, ribs and spine; nodules among the vessels.

    Args:
        rng: fixes the patient.
        spacing_mm: side of the voxels.
        lesions: how many nodules to plant.
        contrast: 1 for solid nodules; towards 0 they become ground glass.
    """
    canvas = Canvas(FIELD_MM["ct"], spacing_mm, _AIR)
    size = rng.uniform(0.92, 1.06)
    far = 10_000.0  # the trunk leaves the field of view above and below
    for inset, value in ((0.0, _FAT), (rng.uniform(8, 22), _TISSUE)):
        canvas.ellipsoid((0, 0, 0), (far, 112 * size - inset, 160 * size - inset), value)
    lungs = [((rng.normal(5, 4), 0.0, side * 74 * size), (118.0, 82 * size, 62 * size)) for side in (-1, 1)]
    for centre, radii in lungs:
        canvas.ellipsoid(centre, radii, _LUNG + rng.normal(0, 15))
    for side in (-1, 1):
        canvas.ellipsoid((-140 + rng.normal(6 * side, 6), 5, side * 75), (75, 95, 85), _TISSUE)
    canvas.ellipsoid((-35, -32, 22), (62, 45, 52 * rng.uniform(0.9, 1.15)), _BLOOD)
    canvas.tube(np.array([(-130, 60, 8), (40, 55, 18), (75, 15, 12), (40, -22, 0)], float), 13.0, _BLOOD)
    for centre, radii in lungs:
        _vessels(canvas, rng, centre, radii)
    _bones(canvas, rng, size)
    planted: list[Lesion] = []
    while len(planted) < lesions:
        centre, radii = lungs[int(rng.integers(2))]
        place = _within(rng, centre, radii, 0.78)
        radius = rng.uniform(7.0, 16.0)
        if canvas.at(place) > -700 or any(canvas.at(p) > -300 for p in _around(place, 0.8 * radius)):
            continue  # in the heart, the diaphragm, or a large vessel
        planted.append(Lesion(place, tuple(radius * rng.uniform(0.85, 1.15, 3))))
    for lesion in planted:
        canvas.ellipsoid(lesion.centre_mm, lesion.radii_mm, _LUNG + contrast * (40.0 - _LUNG))
    return canvas, planted


def draw_head(
    rng: np.random.Generator, spacing_mm: float, lesions: int, contrast: float
) -> tuple[Canvas, list[Lesion]]:
    """A FLAIR image of the brain: scalp, skull, cortex, white matter and ventricles; bright lesions in white matter.

    Args:
        rng: fixes the patient.
        spacing_mm: side of the voxels.
        lesions: how many lesions to plant.
        contrast: 1 more than twice as bright as the cortex; towards 0 as dark as white matter.
    """
    canvas = Canvas(FIELD_MM["mr"], spacing_mm, 0.02)
    size = rng.uniform(0.94, 1.04)
    for inset, value in ((0.0, 0.40), (5.0, 0.06), (11.0, 0.10), (14.0, 0.50)):
        canvas.ellipsoid((5, 0, 0), (78 * size - inset, 96 * size - inset, 75 * size - inset), value)
    white = 0.42
    folds = ndimage.gaussian_filter(rng.standard_normal(canvas.values.shape, dtype=np.float32), 5.0 / spacing_mm)
    folds /= folds.std()
    z, y, x = (axis.reshape([-1 if i == k else 1 for i in range(3)]) for k, axis in enumerate(canvas.axes))
    depth = np.sqrt(((z - 5) / (64 * size)) ** 2 + (y / (82 * size)) ** 2 + (x / (61 * size)) ** 2)
    inner = np.clip((0.86 + 0.05 * folds - depth) * 20, 0, 1).astype(np.float32)  # the cortex is folded
    canvas.values += inner * (np.float32(white) - canvas.values)
    for side in (-1, 1):
        wide = rng.uniform(0.8, 1.6)
        canvas.ellipsoid((8, 4, side * 11 * wide), (11, 33, 7 * wide), 0.12)
        canvas.ellipsoid((2, -2, side * 24), (9, 14, 8), 0.48)  # deep grey matter
    planted: list[Lesion] = []
    while len(planted) < lesions:
        place = _within(rng, (8.0, 0.0, 0.0), (44 * size, 62 * size, 46 * size), 1.0)
        radius = rng.uniform(8.0, 14.0)
        if any(abs(canvas.at(p) - white) > 0.04 for p in (place, *_around(place, 0.8 * radius))):
            continue  # not white matter
        planted.append(Lesion(place, tuple(radius * rng.uniform(0.8, 1.2, 3))))
    for lesion in planted:
        canvas.ellipsoid(lesion.centre_mm, lesion.radii_mm, white + contrast * (1.1 - white))
    return canvas, planted


def _vessels(canvas: Canvas, rng: np.random.Generator, centre: Point, radii: Point) -> None:
    """Branches from the hilum to the pleura, thinner on the way: what a nodule must be told from."""
    hilum = np.array([centre[0] - 10, centre[1] + 5, centre[2] * 0.42])
    for _ in range(16):
        end = np.asarray(_within(rng, centre, radii, 0.95))
        bend = hilum + 0.55 * (end - hilum) + rng.normal(0, 14, 3)
        t = np.linspace(0, 1, 9)[:, None]
        course = (1 - t) ** 2 * hilum + 2 * t * (1 - t) * bend + t**2 * end
        canvas.tube(course, np.linspace(rng.uniform(3.0, 5.0), 1.0, 9), _BLOOD)


def _bones(canvas: Canvas, rng: np.random.Generator, size: float) -> None:
    canvas.tube(np.array([(-140, 78 * size, 0), (140, 78 * size, 0)], float), 15.0, _BONE)
    canvas.tube(np.array([(-60, -95 * size, 0), (70, -95 * size, 0)], float), 9.0, _BONE)
    angle = np.linspace(0.15, np.pi - 0.25, 15)  # from the spine around to the breastbone
    slant = rng.uniform(35, 55)
    for level in np.arange(-110, 150, 26.0):
        for side in (-1, 1):
            course = np.stack(
                [
                    level - slant * (angle / np.pi) + slant / 2,
                    92 * size * np.cos(angle),
                    side * 142 * size * np.sin(angle),
                ],
                axis=1,
            )
            canvas.tube(course, 4.5, _BONE)


def _within(rng: np.random.Generator, centre: Point, radii: Point, reach: float) -> Point:
    """A random point in an ellipsoid shrunk by a factor, spread evenly."""
    direction = rng.normal(size=3)
    direction *= reach * rng.random() ** (1 / 3) / np.linalg.norm(direction)
    z, y, x = (float(c + r * d) for c, r, d in zip(centre, radii, direction, strict=True))
    return z, y, x


def _around(place: Point, reach: float) -> list[Point]:
    z, y, x = place
    steps = [(reach, 0, 0), (0, reach, 0), (0, 0, reach)]
    return [(z + s * a, y + s * b, x + s * c) for a, b, c in steps for s in (-1, 1)]
