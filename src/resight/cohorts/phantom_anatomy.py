"""The phantom's healthy thorax: splines filled and added up as X-ray attenuation, the way a radiograph adds tissue up.

Body coordinates: x from -1 to 1 towards the patient's left (right in the picture), y from -1 to 1 downwards. Side -1 is
the patient's right lung. Attenuation 0 is air and about 1 is spine behind heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

Plane = Float[np.ndarray, "H W"]
Region = Bool[np.ndarray, "H W"]
Points = Float[np.ndarray, "N 2"]
Lines = Float[np.ndarray, "K N 2"]
Layer = UInt8[np.ndarray, "H W"]
Sex = Literal["F", "M"]
View = Literal["PA", "AP"]

_SHIFT = 4  # OpenCV draws at 1/16 pixel

_TORSO = np.array(
    [(0.17, -1.3), (0.18, -0.92), (0.42, -0.80), (0.80, -0.72), (1.08, -0.55), (1.3, -0.1), (1.25, 0.2), (0.98, 0.34),
     (0.90, 0.6), (0.92, 1.3)]
)  # fmt: skip
_HEART = np.array(
    [(-0.10, -0.22), (-0.16, 0.0), (-0.19, 0.18), (-0.13, 0.40), (0.12, 0.50), (0.34, 0.45), (0.41, 0.30), (0.31, 0.08),
     (0.20, -0.06), (0.14, -0.20), (0.02, -0.30)]
)  # fmt: skip
_MEDIASTINUM = np.array(
    [(-0.12, -1.0), (-0.13, -0.62), (-0.12, -0.30), (-0.14, 0.0), (-0.12, 0.5), (0.12, 0.5), (0.14, 0.0), (0.15, -0.22),
     (0.19, -0.34), (0.13, -0.46), (0.11, -0.62), (0.11, -1.0)]
)  # fmt: skip
_SCAPULA = np.array([(0.66, -0.62), (0.92, -0.56), (0.86, -0.30), (0.74, -0.04), (0.69, -0.30)])
_CLAVICLE = np.array([(0.05, -0.56), (0.22, -0.585), (0.42, -0.66), (0.62, -0.71), (0.86, -0.73)])


@dataclass(frozen=True)
class Body:
    """One patient as positioned for one exposure; lengths in body coordinates.

    Attributes:
        sex: breasts and a narrower frame, or not.
        view: AP exposures magnify the heart, project the shoulder blades into the lungs and catch a shallow breath.
        pose: `(2, 3)` rotation, scale and shift of the body in the picture.
        width: half the inner width of the rib cage.
        domes: y of the right and of the left dome of the diaphragm.
        angle: y of the costophrenic angles.
        heart: width of the heart, 1 is ordinary.
        air: how radiolucent the lungs are, 1 is ordinary.
        aorta: size of the aortic knob.
        bend: sideways curve of the spine.
        bone: density of the bones.
        markings: strength of the lungs' vessels.
        tree: number that fixes the vessels' course.
    """

    sex: Sex
    view: View
    pose: Float[np.ndarray, "2 3"]
    width: float
    domes: tuple[float, float]
    angle: float
    heart: float
    air: float
    aorta: float
    bend: float
    bone: float
    markings: float
    tree: int


@dataclass
class Thorax:
    """A drawn thorax that findings are planted into.

    Attributes:
        body: whose it is.
        x: body coordinate of every pixel.
        y: the same downwards.
        tissue: attenuation of everything but the lungs' vessels.
        markings: attenuation of the vessels, kept apart because findings hide or remove them.
        lungs: the right and the left lung where no heart lies before it.
        cavities: the same with what lies behind the heart.
        outlines: outline of either cavity.
        heart: silhouette of the heart.
        to_pixels: `(2, 3)` matrix from body coordinates to pixels.
    """

    body: Body
    x: Plane
    y: Plane
    tissue: Plane
    markings: Plane
    lungs: tuple[Region, Region]
    cavities: tuple[Region, Region]
    outlines: tuple[Points, Points]
    heart: Region
    to_pixels: Float[np.ndarray, "2 3"]

    @property
    def both_lungs(self) -> Region:
        """Right and left lung."""
        return self.lungs[0] | self.lungs[1]

    def fill(self, outline: Points) -> Layer:
        """A closed outline as 255 inside, 0 outside, smooth at the edge."""
        layer = np.zeros(self.x.shape, np.uint8)
        cv2.fillPoly(layer, _fixed(outline[None], self.to_pixels), 255, cv2.LINE_AA, _SHIFT)
        return layer

    def stroke(self, lines: Lines, width: float, *, closed: bool = False) -> Layer:
        """Lines of a width in body coordinates (one pixel at least), 255 on them."""
        layer = np.zeros(self.x.shape, np.uint8)
        self.stroke_on(layer, lines, width, closed=closed)
        return layer

    def stroke_on(self, layer: Layer, lines: Lines, width: float, *, value: int = 255, closed: bool = False) -> None:
        """Draw further lines of another brightness on a layer."""
        thickness = max(1, round(width * len(self.x) / 2))
        cv2.polylines(layer, _fixed(lines, self.to_pixels), closed, value, thickness, cv2.LINE_AA, _SHIFT)

    def soft(self, layer: Layer, radius: float) -> Plane:
        """A layer as 0 to 1, blurred by a radius in body coordinates."""
        sigma = radius * len(self.x) / 2
        plane = layer.astype(np.float32) * np.float32(1 / 255)
        if sigma < 4:
            return cv2.GaussianBlur(plane, (0, 0), max(sigma, 0.3))
        small = cv2.resize(plane, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)  # wide blurs need no detail
        return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), plane.shape[::-1])


def sample_body(patient: np.random.Generator, exposure: np.random.Generator, *, age: int, sex: Sex, view: View) -> Body:
    """Draw a body: what belongs to the patient from one generator, what differs by exposure from the other."""
    old = (age - 50) / 35
    portable = view == "AP"
    build, cage, heart, aorta, bend, bone, marks, dome = patient.normal(size=8).clip(-2, 2)
    tilt, zoom, right, down, breath = exposure.normal(size=5).clip(-2, 2)
    turn = np.deg2rad((2.2 if portable else 1.2) * tilt)
    scale = 0.97 + 0.025 * build + 0.02 * zoom - (0.05 if sex == "F" else 0.0)
    shift = (0.03 * right, 0.05 + 0.03 * down)
    pose = np.array([[np.cos(turn), -np.sin(turn), shift[0]], [np.sin(turn), np.cos(turn), shift[1]]])
    pose[:, :2] *= scale
    shallow = (0.09 if portable else 0.0) - 0.035 * breath
    return Body(
        sex=sex,
        view=view,
        pose=pose,
        width=0.69 + 0.02 * cage,
        domes=(0.33 + 0.02 * dome - shallow, 0.40 + 0.02 * dome - shallow),
        angle=0.62 - 0.7 * shallow,
        heart=(1.12 if portable else 0.96) + 0.035 * heart + 0.03 * old,
        air=1.0 + 0.03 * breath,
        aorta=1.0 + 0.15 * aorta + 0.35 * old,
        bend=0.012 * bend * (1 + max(old, 0.0)),
        bone=1.0 + 0.12 * bone - 0.2 * max(old, 0.0),
        markings=1.0 + 0.15 * marks + 0.1 * old,
        tree=int(patient.integers(2**31)),
    )


def draw_thorax(body: Body, size_px: int) -> Thorax:
    """Draw a body on a square picture."""
    half = size_px / 2
    to_pixels = body.pose * half
    to_pixels[:, 2] += half - 0.5
    x, y = _body_grid(to_pixels, size_px)
    empty, nowhere = np.zeros((size_px, size_px), np.float32), np.zeros((size_px, size_px), bool)
    outlines = (lung_outline(body, -1), lung_outline(body, 1))
    none = (nowhere, nowhere)
    thorax = Thorax(body, x, y, empty, empty, none, none, outlines, nowhere, to_pixels)

    cavities = [thorax.fill(outline) for outline in outlines]
    heart = thorax.fill(_heart_outline(body))
    middle = np.maximum(heart, thorax.fill(spline(_MEDIASTINUM * (body.aorta**0.35, 1.0) + _bend(body, _MEDIASTINUM))))
    air = _air(thorax, cavities[0] | cavities[1], middle)

    thorax.tissue = _soft_tissue(thorax, body, air) + _central_shadow(thorax, body, heart, middle)
    thorax.tissue += _bones(thorax, body) - 0.47 * body.air * air
    thorax.markings = _vessels(thorax, body) * air
    thorax.heart = heart > 127
    thorax.cavities = (cavities[0] > 127, cavities[1] > 127)
    clear = middle < 128
    thorax.lungs = (thorax.cavities[0] & clear, thorax.cavities[1] & clear)
    return thorax


def lung_outline(body: Body, side: int) -> Points:
    """Outline of the right (-1) or left (1) half of the chest cavity."""
    dome, angle, w = body.domes[side > 0], body.angle, body.width
    control = [
        (0.09, -0.50), (0.17, -0.68), (0.30, -0.76), (0.44, -0.67), (0.57, -0.42), (w * 0.97, -0.05), (w, 0.25),
        (w * 1.01, angle - 0.10), (w * 0.985, angle), (w * 0.88, 0.35 * angle + 0.65 * dome + 0.04),
        (w * 0.60, dome), (w * 0.35, dome + 0.02), (0.08, dome + 0.03), (0.08, 0.0),
    ]  # fmt: skip
    return spline(np.array(control) * (side, 1.0))


def spline(control: Points, *, closed: bool = True) -> Points:
    """A smooth curve through control points (Catmull-Rom)."""
    return _spline_basis(len(control), closed) @ control


@lru_cache
def _spline_basis(count: int, closed: bool, samples: int = 6) -> Float[np.ndarray, "M N"]:
    t = np.arange(samples) / samples
    weights = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)
    segments = count if closed else count - 1
    basis = np.zeros((segments * samples, count))
    for segment in range(segments):
        for tap in range(4):
            point = segment - 1 + tap
            point = point % count if closed else min(max(point, 0), count - 1)
            basis[segment * samples : (segment + 1) * samples, point] += weights[:, tap]
    return basis if closed else np.vstack([basis, np.eye(count)[-1]])


def _fixed(lines: Lines, to_pixels: Float[np.ndarray, "2 3"]) -> list[Any]:
    return list(np.rint((lines @ to_pixels[:, :2].T + to_pixels[:, 2]) * (1 << _SHIFT)).astype(np.int32))


def _body_grid(to_pixels: Float[np.ndarray, "2 3"], size_px: int) -> tuple[Plane, Plane]:
    inverse = cv2.invertAffineTransform(to_pixels).astype(np.float32)
    column, row = np.arange(size_px, dtype=np.float32)[None], np.arange(size_px, dtype=np.float32)[:, None]
    x, y = (a * column + (b * row + c) for a, b, c in inverse)
    return x, y


def _heart_outline(body: Body) -> Points:
    middle, sag = np.array([0.02, 0.12]), body.domes[1] - 0.40
    wide = (_HEART - middle) * (body.heart, 0.6 + 0.4 * body.heart) + middle
    return spline(wide + _down(sag))


def _bend(body: Body, points: Points) -> Points:
    return np.stack([body.bend * np.sin(2.5 * points[:, 1]), np.zeros(len(points))], axis=1)


def _down(y: float) -> Float[np.ndarray, " 2"]:
    return np.array([0.0, y])


def _air(thorax: Thorax, cavity: Layer, middle: Layer) -> Plane:
    """How much air lies in the way: nothing behind the heart, less near the chest wall."""
    edge = thorax.soft(cavity, 0.012)
    deep = thorax.soft(cavity, 0.13)
    return edge * (0.45 + 0.55 * deep) * (1.0 - 0.93 * thorax.soft(middle, 0.014))


def _soft_tissue(thorax: Thorax, body: Body, air: Plane) -> Plane:
    frame = _TORSO * (0.96 if body.sex == "F" else 1.0, 1.0)
    torso = thorax.soft(thorax.fill(spline(np.vstack([frame, frame[::-1] * (-1, 1)]))), 0.05)
    belly = 1.0 / (1.0 + np.exp((0.32 - thorax.y) * 9.0))
    tissue = torso * (0.46 + 0.14 * np.maximum(1.0 - np.square(thorax.x), 0.0) + 0.22 * belly * (1.0 - air))
    gas = np.square((thorax.x - 0.36) / 0.11) + np.square((thorax.y - body.domes[1] - 0.16) / 0.055)
    tissue -= 0.16 * np.exp(-gas) * (1.0 - air)
    if body.sex == "F":
        for side in (-1, 1):
            round_part = np.square((thorax.x - 0.40 * side) / 0.30) + np.square((thorax.y - 0.20) / 0.27)
            tissue += 0.075 * torso * np.clip((1.0 - round_part) * 2.2, 0.0, 1.0)
    return tissue


def _central_shadow(thorax: Thorax, body: Body, heart: Layer, middle: Layer) -> Plane:
    """Mediastinum, heart, spine with its vertebrae, windpipe."""
    centre = np.square(thorax.x - np.float32(body.bend) * np.sin(2.5 * thorax.y))
    column = np.exp(-np.square(centre / 0.075**2))
    vertebrae = 0.75 + 0.25 * np.cos(thorax.y * (2 * np.pi / 0.125))
    windpipe = np.exp(-np.square(centre / 0.035**2)) / (1.0 + np.exp((thorax.y + 0.32) * 25.0))
    shadow = 0.10 * thorax.soft(middle, 0.02) + 0.10 * thorax.soft(heart, 0.02)
    return shadow + np.float32(0.10 * body.bone) * column * vertebrae - 0.13 * windpipe


def _bones(thorax: Thorax, body: Body) -> Plane:
    back, front = _ribs(body)
    layer = np.minimum(thorax.stroke(back, 0.055), 140)
    for offset in (-0.024, 0.022):
        thorax.stroke_on(layer, back + _down(offset), 0.012)
    pale = np.minimum(thorax.stroke(front, 0.05), 80)
    lift, reach = (-0.05, 0.13) if body.view == "AP" else (0.0, 0.0)
    mirror = np.array([[[-1.0, 1.0]], [[1.0, 1.0]]])
    blades = spline(_SCAPULA - (reach, 0.0)) * mirror
    collars = spline(_CLAVICLE + _down(lift), closed=False) * mirror
    shoulder = np.maximum(thorax.fill(blades[0]), thorax.fill(blades[1])) // 3
    thorax.stroke_on(shoulder, blades, 0.015, value=130, closed=True)
    thorax.stroke_on(shoulder, np.array([(1.0, -0.50), (1.12, -0.1)]) * mirror, 0.20, value=150)
    thorax.stroke_on(shoulder, collars, 0.055, value=190)
    for offset in (-0.022, 0.022):
        thorax.stroke_on(shoulder, collars + _down(offset), 0.012)
    bones = 0.105 * thorax.soft(np.maximum(layer, pale), 0.006) + 0.12 * thorax.soft(shoulder, 0.006)
    return np.float32(body.bone) * bones


def _ribs(body: Body) -> tuple[Lines, Lines]:
    """Middle lines of the nine posterior and the seven fainter anterior ribs of either side."""
    number, t = np.arange(9)[:, None], np.linspace(0.0, 1.0, 14)
    reach = np.minimum(body.width + 0.01, 0.36 + 0.11 * number)
    arch = -0.06 * np.sin(np.pi * np.minimum(t * 1.5, 1.0)) + (0.07 + 0.022 * number) * t**2.2
    back = np.stack([0.07 + (reach - 0.07) * np.sin(t * np.pi / 2), -0.74 + 0.135 * number + arch], axis=2)
    number, reach, ends = number[1:8], reach[1:8], back[1:8, -1:, 1]
    fall = ends + 0.02 + (0.20 + 0.015 * number) * (1 - t) ** 1.1
    front = np.stack([0.17 + (reach - 0.17) * np.sin(t * np.pi / 2), fall], axis=2)
    return np.vstack([back, back * (-1, 1)]), np.vstack([front, front * (-1, 1)])


def _vessels(thorax: Thorax, body: Body) -> Plane:
    """Branches that leave the hila, get thinner and fork."""
    rng = np.random.default_rng(body.tree)
    count, t = 16, np.linspace(0.0, 1.0, 7)
    layer = np.zeros(thorax.x.shape, np.uint8)
    for side in (-1, 1):
        hilum = np.array([side * 0.15, -0.05 - 0.03 * (side > 0)])
        heading = np.deg2rad(rng.uniform(-88, 80, count))
        length, curl = rng.uniform(0.25, 0.58, count), rng.normal(0.0, 0.5, count)
        bearing = heading[:, None] + curl[:, None] * t
        step = np.stack([side * np.cos(bearing), np.sin(bearing) * 1.15], axis=2) * (length / 6)[:, None, None]
        stems = hilum + rng.normal(0.0, 0.02, (count, 1, 2)) + np.cumsum(step, axis=1)
        forks = stems[:, 3:4] + (stems[:, 3:] - stems[:, 3:4]) @ _turn(0.5) * rng.uniform(0.5, 0.9, (count, 1, 1))
        thorax.stroke_on(layer, forks, 0.008, value=60)
        thorax.stroke_on(layer, stems, 0.008, value=90)
        thorax.stroke_on(layer, stems[:, :4], 0.016, value=130)
        thorax.stroke_on(layer, stems[:8, :3], 0.036, value=180)
    fine = texture("fine", len(thorax.x), rng)
    return np.float32(body.markings) * (0.18 * thorax.soft(layer, 0.008) + 0.02 * fine)


def _turn(angle: float) -> Float[np.ndarray, "2 2"]:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def texture(kind: Literal["fine", "patchy", "net"], size_px: int, rng: np.random.Generator) -> Plane:
    """A random window of a prepared texture with mean 0 (`fine`, `patchy`) or of a net from 0 to 1 (`net`)."""
    bank = _texture_bank(kind, size_px)
    row, column = rng.integers(0, size_px, 2)
    return bank[row : row + size_px, column : column + size_px]


@lru_cache(maxsize=12)
def _texture_bank(kind: str, size_px: int) -> Plane:
    rng = np.random.default_rng(sum(kind.encode()))
    grain = {"fine": 0.02, "patchy": 0.09, "net": 0.022}[kind] * size_px / 2
    white = rng.standard_normal((2 * size_px, 2 * size_px)).astype(np.float32)
    field = cv2.GaussianBlur(white, (0, 0), grain)
    field /= field.std()
    return np.exp(-((field / 0.35) ** 2)) if kind == "net" else field
