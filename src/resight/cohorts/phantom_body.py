"""The phantom's patient: proportions drawn at random, and the outlines of organs and bones that follow from them.

Body coordinates: x from -1 to 1 towards the patient's left (right in the picture), y from -1 to 1 downwards. Side -1 is
the patient's right lung.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "N 2"]
Lines = Float[np.ndarray, "K N 2"]
Sex = Literal["F", "M"]
View = Literal["PA", "AP"]

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
_MIRROR = np.array([[[-1.0, 1.0]], [[1.0, 1.0]]])


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


def lung_outline(body: Body, side: int) -> Points:
    """Outline of the right (-1) or left (1) half of the chest cavity."""
    dome, angle, w = body.domes[side > 0], body.angle, body.width
    control = [
        (0.09, -0.50), (0.17, -0.68), (0.30, -0.76), (0.44, -0.67), (0.57, -0.42), (w * 0.97, -0.05), (w, 0.25),
        (w * 1.01, angle - 0.10), (w * 0.985, angle), (w * 0.88, 0.35 * angle + 0.65 * dome + 0.04),
        (w * 0.60, dome), (w * 0.35, dome + 0.02), (0.08, dome + 0.03), (0.08, 0.0),
    ]  # fmt: skip
    return spline(np.array(control) * (side, 1.0))


def heart_outline(body: Body) -> Points:
    """Outline of the heart, which sinks with the diaphragm."""
    middle, sag = np.array([0.02, 0.12]), body.domes[1] - 0.40
    wide = (_HEART - middle) * (body.heart, 0.6 + 0.4 * body.heart) + middle
    return spline(wide + down(sag))


def mediastinum_outline(body: Body) -> Points:
    """Outline of what lies between the lungs above the heart; it grows with the aorta and bends with the spine."""
    return spline(_MEDIASTINUM * (body.aorta**0.35, 1.0) + _bend(body, _MEDIASTINUM))


def torso_outline(body: Body) -> Points:
    """Outline of the skin."""
    frame = _TORSO * (0.96 if body.sex == "F" else 1.0, 1.0)
    return spline(np.vstack([frame, frame[::-1] * (-1, 1)]))


def shoulder_blades(body: Body) -> Lines:
    """Outlines of both; an AP exposure projects them into the lungs."""
    reach = 0.13 if body.view == "AP" else 0.0
    return spline(_SCAPULA - (reach, 0.0)) * _MIRROR


def collar_bones(body: Body) -> Lines:
    """Middle lines of both."""
    lift = -0.05 if body.view == "AP" else 0.0
    return spline(_CLAVICLE + down(lift), closed=False) * _MIRROR


def upper_arms() -> Lines:
    """Middle lines of what an exposure shows of both."""
    return np.array([(1.0, -0.50), (1.12, -0.1)]) * _MIRROR


def ribs(body: Body) -> tuple[Lines, Lines]:
    """Middle lines of the nine posterior and the seven fainter anterior ribs of either side."""
    number, t = np.arange(9)[:, None], np.linspace(0.0, 1.0, 14)
    reach = np.minimum(body.width + 0.01, 0.36 + 0.11 * number)
    arch = -0.06 * np.sin(np.pi * np.minimum(t * 1.5, 1.0)) + (0.07 + 0.022 * number) * t**2.2
    back = np.stack([0.07 + (reach - 0.07) * np.sin(t * np.pi / 2), -0.74 + 0.135 * number + arch], axis=2)
    number, reach, ends = number[1:8], reach[1:8], back[1:8, -1:, 1]
    fall = ends + 0.02 + (0.20 + 0.015 * number) * (1 - t) ** 1.1
    front = np.stack([0.17 + (reach - 0.17) * np.sin(t * np.pi / 2), fall], axis=2)
    return np.vstack([back, back * (-1, 1)]), np.vstack([front, front * (-1, 1)])


def down(y: float) -> Float[np.ndarray, " 2"]:
    """A shift downwards."""
    return np.array([0.0, y])


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


def _bend(body: Body, points: Points) -> Points:
    return np.stack([body.bend * np.sin(2.5 * points[:, 1]), np.zeros(len(points))], axis=1)
