"""The 14 findings of ChestX-ray14 as the phantom plants them (Wang et al., CVPR 2017, names the labels).

What a radiologist would look for, from the Fleischner Society's glossary of thoracic imaging (Hansell et al.,
Radiology 246:697, 2008). Each finding draws its place and size from its own generator, so that leaving one away changes
no other; each returns where it can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from resight.cohorts.phantom_anatomy import Plane, Region, Thorax, texture
from resight.cohorts.phantom_body import Body, lung_outline, spline

Finding = Literal[
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
]  # fmt: skip
Plant = Callable[[Thorax, np.random.Generator, float], Region]
_RAISED = (0.04, 0.09)  # a diaphragm above a lung that lost volume
_VISIBLE = 0.02  # of full scale: a mask ends where the finding adds less at full visibility


def alter_body(body: Body, finding: Finding, rng: np.random.Generator, visibility: float) -> Body:
    """What a finding changes in the anatomy, before anything is drawn.

    Args:
        body: as it would be without.
        finding: which one.
        rng: the finding's own generator.
        visibility: 0 (not to be seen) to 1 (plain).
    """
    if finding == "Cardiomegaly":
        return replace(body, heart=body.heart * (1 + visibility * rng.uniform(0.32, 0.50)))
    if finding == "Emphysema":
        (right, left), drop = body.domes, visibility * rng.uniform(0.10, 0.15)
        flat = (min(right + drop, body.angle - 0.06), min(left + drop, body.angle - 0.04))
        heart, air = body.heart * (1 - 0.16 * visibility), body.air * (1 + 0.14 * visibility)
        markings = body.markings * (1 - 0.5 * visibility)
        return replace(body, domes=flat, heart=heart, air=air, markings=markings, width=body.width + 0.02 * visibility)
    if finding == "Atelectasis":
        return _raised(body, _side(rng), visibility * rng.uniform(*_RAISED))
    return body


def plant(thorax: Thorax, finding: Finding, rng: np.random.Generator, visibility: float) -> Region:
    """Draw a finding into a thorax and say where it is.

    Args:
        thorax: changed in place.
        finding: which one.
        rng: the finding's own generator, as fresh as it was for `alter_body`.
        visibility: factor on its contrast.
    """
    return _PLANTS[finding](thorax, rng, visibility)


def _raised(body: Body, side: int, lift: float) -> Body:
    right, left = body.domes
    return replace(body, domes=(right - lift, left) if side < 0 else (right, left - lift))


def _side(rng: np.random.Generator) -> int:
    return -1 if rng.random() < 0.5 else 1


def _place(rng: np.random.Generator, low: float = -0.5, high: float = 0.22) -> tuple[float, float]:
    """A point that lies in the lung of every body: away from ribs' ends, heart and diaphragm."""
    side, y = _side(rng), rng.uniform(low, high)
    inner = 0.27 + 0.6 * max(y + 0.1, 0.0) * (side > 0)
    return side * rng.uniform(inner, 0.50 + 0.06 * (y > -0.2)), y


def _distance(thorax: Thorax, x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Plane:
    """0 in the middle of an ellipse, 1 on it."""
    dx, dy = thorax.x - np.float32(x), thorax.y - np.float32(y)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return np.sqrt(np.square((c * dx + s * dy) / rx) + np.square((c * dy - s * dx) / ry))


def _add(thorax: Thorax, shade: Plane, visibility: float) -> Region:
    """Add attenuation; the finding is where it shows."""
    thorax.tissue = thorax.tissue + np.float32(visibility) * shade
    return np.abs(shade) > _VISIBLE


def _within(thorax: Thorax, shade: Plane) -> Plane:
    """Only where lung is, softly."""
    return shade * thorax.soft(thorax.both_lungs.astype(np.uint8) * np.uint8(255), 0.015)


def _ball(thorax: Thorax, x: float, y: float, radius: float, stretch: float, turn: float) -> Plane:
    """What a ball of water adds: the length of the way through it."""
    distance = _distance(thorax, x, y, radius * stretch, radius / stretch, turn)
    return np.sqrt(np.maximum(1.0 - np.square(distance), 0.0))


def _nodule(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    shade = np.zeros_like(thorax.tissue)
    for _ in range(1 + (rng.random() < 0.4)):
        x, y = _place(rng)
        shade = np.maximum(shade, _ball(thorax, x, y, rng.uniform(0.05, 0.085), rng.uniform(0.9, 1.1), 0.4))
    return _add(thorax, 0.26 * shade, visibility)


def _mass(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    x, y = _place(rng)
    radius, turn = rng.uniform(0.14, 0.22), rng.uniform(0, np.pi)
    main = _ball(thorax, x, y, radius, rng.uniform(0.85, 1.2), turn)
    lobe = _ball(thorax, x + 0.6 * radius * np.cos(turn), y + 0.6 * radius * np.sin(turn), 0.65 * radius, 1.0, 0.0)
    return _add(thorax, _within(thorax, 0.34 * np.sqrt(np.maximum(main, lobe))), visibility)


def _patch(thorax: Thorax, rng: np.random.Generator, *, low: float, high: float, radius: tuple[float, float]) -> Plane:
    """A ragged opacity, 0 to 1."""
    x, y = _place(rng, low, high)
    rx, ry = rng.uniform(*radius, size=2)
    ragged = 1.0 - _distance(thorax, x, y, rx, 1.3 * ry) + 0.22 * texture("patchy", len(thorax.x), rng)
    return np.clip(2.2 * ragged, 0.0, 1.0)


def _consolidation(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """Dense enough to hide the vessels; the bronchi stay as dark lines (air bronchogram)."""
    dense = _within(thorax, _patch(thorax, rng, low=-0.35, high=0.2, radius=(0.24, 0.34)))
    thorax.markings = thorax.markings * (1.0 - np.float32(1.6 * visibility) * dense)
    return _add(thorax, 0.36 * dense, visibility)


def _infiltration(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    area = _patch(thorax, rng, low=-0.4, high=0.15, radius=(0.32, 0.45))
    spots = np.clip(0.35 + 0.75 * texture("patchy", len(thorax.x), rng), 0.0, 1.0)
    return _add(thorax, _within(thorax, 0.24 * area * spots), visibility)


def _pneumonia(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """A dense core in the lower lung with a mottled surround."""
    core = _patch(thorax, rng, low=0.0, high=0.24, radius=(0.18, 0.26))
    mottled = 0.75 + 0.25 * np.clip(texture("fine", len(thorax.x), rng), -1.5, 1.5)
    return _add(thorax, _within(thorax, 0.30 * core * mottled), visibility)


def _edema(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """Both lungs hazy from the hila outwards, like the wings of a bat."""
    reach = rng.uniform(0.34, 0.44)
    wings = np.zeros_like(thorax.tissue)
    for side in (-1, 1):
        wings = np.maximum(wings, np.exp(-np.square(_distance(thorax, side * 0.24, 0.02, reach, 1.25 * reach))))
    haze = wings * (0.85 + 0.25 * np.clip(texture("patchy", len(thorax.x), rng), -1.5, 1.5))
    return _add(thorax, _within(thorax, 0.30 * haze), visibility)


def _fibrosis(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """A net of fine lines, densest at the bases and the chest wall of both lungs."""
    where = np.clip(0.55 * np.abs(thorax.x) / 0.6 + 0.9 * (thorax.y + 0.25), 0.0, 1.0)
    net = texture("net", len(thorax.x), rng)
    mask = _add(thorax, _within(thorax, where * (0.30 * net + 0.03)), visibility)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0


def _effusion(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """Fluid that fills the costophrenic angle and climbs the chest wall (meniscus)."""
    sides = (-1, 1) if rng.random() < 0.3 else (_side(rng),)
    shade = np.zeros_like(thorax.tissue)
    for side in sides:
        outline = thorax.outlines[side > 0]
        wall = thorax.body.width
        level = thorax.body.angle - rng.uniform(0.28, 0.50)
        meniscus = level - 0.22 * np.square(np.clip((side * thorax.x / wall - 0.55) / 0.45, 0.0, 1.2))
        depth = 1.0 / (1.0 + np.exp((meniscus - thorax.y) * 35.0))
        shade = np.maximum(shade, depth * thorax.soft(thorax.fill(outline), 0.012))
    shade = _within(thorax, 0.46 * shade)
    thorax.markings = thorax.markings * (1.0 - np.float32(1.8 * visibility) * shade)
    return _add(thorax, shade, visibility)


def _pneumothorax(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """Air without vessels between the chest wall and the fine line of the collapsed lung."""
    side = _side(rng)
    outline = thorax.outlines[side > 0]
    hilum = np.array([side * 0.12, 0.12])
    shrink = rng.uniform(0.66, 0.80)
    collapsed = hilum + (outline - hilum) * (shrink, shrink + 0.06)
    lung = thorax.soft(thorax.fill(collapsed), 0.008)
    cavity = thorax.lungs[side > 0]
    rim = np.where(cavity, 1.0 - lung, 0.0).astype(np.float32)
    line = thorax.soft(thorax.stroke(collapsed[None], 0.012, closed=True), 0.004)
    thorax.markings = thorax.markings * (1.0 - np.float32(visibility) * rim)
    shade = 0.03 * np.where(cavity, lung, 0.0).astype(np.float32) - 0.15 * rim + _within(thorax, 0.24 * line)
    thorax.tissue = thorax.tissue + np.float32(visibility) * shade
    return cavity & ((rim > 0.5) | (line > 0.2))


def _pleural_thickening(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """A band along the side wall and over the apex, lumpy inside."""
    side = _side(rng)
    outline = thorax.outlines[side > 0]
    centre = np.array([side * 0.16, 0.10])
    wavy = rng.uniform(0.06, 0.10) * (1 + 0.35 * np.sin(np.arange(len(outline)) * rng.uniform(0.5, 0.9)))[:, None]
    inner = centre + (outline - centre) * (1.0 - 1.5 * wavy)
    band = np.maximum(thorax.soft(thorax.fill(outline), 0.008) - thorax.soft(thorax.fill(inner), 0.02), 0.0)
    upper = 1.0 / (1.0 + np.exp((thorax.y - 0.30) * 20.0))
    return _add(thorax, 0.30 * band * upper * thorax.lungs[side > 0], visibility)


def _hernia(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """The stomach behind the heart: a round rim, gas above, fluid below a straight level."""
    x, y, radius = rng.uniform(-0.02, 0.12), rng.uniform(0.16, 0.24), rng.uniform(0.17, 0.23)
    distance = _distance(thorax, x, y, 1.1 * radius, radius)
    inside = np.clip((1.0 - distance) * 12.0, 0.0, 1.0)
    rim = np.exp(-np.square((distance - 1.0) / 0.07))
    gas = inside / (1.0 + np.exp((thorax.y - np.float32(y)) * 60.0))
    return _add(thorax, 0.10 * inside + 0.07 * rim - 0.30 * gas, visibility) | (distance < 1.0)


def _atelectasis(thorax: Thorax, rng: np.random.Generator, visibility: float) -> Region:
    """Plates across the base of a lung whose diaphragm has moved up."""
    side, lift = _side(rng), visibility * rng.uniform(*_RAISED)  # as `alter_body` drew them
    before = thorax.fill(lung_outline(_raised(thorax.body, side, -lift), side)) > 127
    dome = thorax.body.domes[side > 0]
    plates = []
    for level in dome + rng.uniform((-0.24, -0.10), (-0.16, -0.04)):
        ends = np.array([(0.20, level + 0.05), (0.38, level), (0.60, level + rng.uniform(-0.02, 0.10))])
        plates.append(spline(ends * (side, 1.0), closed=False))
    bands = thorax.soft(thorax.stroke(np.array(plates), 0.055), 0.016)
    return _add(thorax, _within(thorax, 0.34 * bands), visibility) | (
        before & ~thorax.cavities[side > 0] & ~thorax.heart
    )


def _cardiomegaly(thorax: Thorax, _rng: np.random.Generator, _visibility: float) -> Region:
    return thorax.heart


def _emphysema(thorax: Thorax, _rng: np.random.Generator, _visibility: float) -> Region:
    return thorax.both_lungs


_PLANTS: Mapping[Finding, Plant] = {
    "Atelectasis": _atelectasis,
    "Cardiomegaly": _cardiomegaly,
    "Effusion": _effusion,
    "Infiltration": _infiltration,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pneumonia": _pneumonia,
    "Pneumothorax": _pneumothorax,
    "Consolidation": _consolidation,
    "Edema": _edema,
    "Emphysema": _emphysema,
    "Fibrosis": _fibrosis,
    "Pleural_Thickening": _pleural_thickening,
    "Hernia": _hernia,
}
