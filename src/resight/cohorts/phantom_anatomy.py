"""The phantom's healthy thorax: splines filled and added up as X-ray attenuation, the way a radiograph adds tissue up.

Coordinates are those of the body. Attenuation 0 is air and about 1 is spine behind heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from resight.cohorts.phantom_body import (
    Body,
    Lines,
    Points,
    collar_bones,
    down,
    heart_outline,
    lung_outline,
    mediastinum_outline,
    ribs,
    shoulder_blades,
    torso_outline,
    upper_arms,
)

Plane = Float[np.ndarray, "H W"]
Region = Bool[np.ndarray, "H W"]
Layer = UInt8[np.ndarray, "H W"]

_SHIFT = 4  # OpenCV draws at 1/16 pixel


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
    heart = thorax.fill(heart_outline(body))
    middle = np.maximum(heart, thorax.fill(mediastinum_outline(body)))
    air = _air(thorax, cavities[0] | cavities[1], middle)

    thorax.tissue = _soft_tissue(thorax, body, air) + _central_shadow(thorax, body, heart, middle)
    thorax.tissue += _bones(thorax, body) - 0.47 * body.air * air
    thorax.markings = _vessels(thorax, body) * air
    thorax.heart = heart > 127
    thorax.cavities = (cavities[0] > 127, cavities[1] > 127)
    clear = middle < 128
    thorax.lungs = (thorax.cavities[0] & clear, thorax.cavities[1] & clear)
    return thorax


def _fixed(lines: Lines, to_pixels: Float[np.ndarray, "2 3"]) -> list[Any]:
    return list(np.rint((lines @ to_pixels[:, :2].T + to_pixels[:, 2]) * (1 << _SHIFT)).astype(np.int32))


def _body_grid(to_pixels: Float[np.ndarray, "2 3"], size_px: int) -> tuple[Plane, Plane]:
    inverse = cv2.invertAffineTransform(to_pixels).astype(np.float32)
    column, row = np.arange(size_px, dtype=np.float32)[None], np.arange(size_px, dtype=np.float32)[:, None]
    x, y = (a * column + (b * row + c) for a, b, c in inverse)
    return x, y


def _air(thorax: Thorax, cavity: Layer, middle: Layer) -> Plane:
    """How much air lies in the way: nothing behind the heart, less near the chest wall."""
    edge = thorax.soft(cavity, 0.012)
    deep = thorax.soft(cavity, 0.13)
    return edge * (0.45 + 0.55 * deep) * (1.0 - 0.93 * thorax.soft(middle, 0.014))


def _soft_tissue(thorax: Thorax, body: Body, air: Plane) -> Plane:
    torso = thorax.soft(thorax.fill(torso_outline(body)), 0.05)
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
    back, front = ribs(body)
    layer = np.minimum(thorax.stroke(back, 0.055), 140)
    for offset in (-0.024, 0.022):
        thorax.stroke_on(layer, back + down(offset), 0.012)
    pale = np.minimum(thorax.stroke(front, 0.05), 80)
    blades, collars = shoulder_blades(body), collar_bones(body)
    shoulder = np.maximum(thorax.fill(blades[0]), thorax.fill(blades[1])) // 3
    thorax.stroke_on(shoulder, blades, 0.015, value=130, closed=True)
    thorax.stroke_on(shoulder, upper_arms(), 0.20, value=150)
    thorax.stroke_on(shoulder, collars, 0.055, value=190)
    for offset in (-0.022, 0.022):
        thorax.stroke_on(shoulder, collars + down(offset), 0.012)
    bones = 0.105 * thorax.soft(np.maximum(layer, pale), 0.006) + 0.12 * thorax.soft(shoulder, 0.006)
    return np.float32(body.bone) * bones


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
