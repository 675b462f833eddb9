"""Random changes of prepared images: parameters are drawn first, then applied purely, all geometry in one warp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from resight.preprocess.geometry import between_grids
from resight.preprocess.volume_warp import warp_volume
from resight.settings import Options
from resight.types import PreparedImage

Share = Annotated[float, Field(ge=0, le=1)]
_COLOUR_AXIS = np.full((3, 3), 1 / 3)  # projects a colour on the greys


@dataclass(frozen=True)
class AugmentParams:
    """What is done to one image; the defaults do nothing. Offsets and boxes are shares of the image's size.

    Attributes:
        flips: whether each spatial axis is mirrored.
        rotate_deg: turn in the (H, W) plane, counter-clockwise.
        scale: magnification.
        shear_deg: slant of the vertical, in the (H, W) plane.
        shift: offset of the content along each spatial axis.
        gain: factor on the grey values.
        offset: added to them, in units of full scale.
        gamma: exponent of the grey values in [0, 1].
        hue_deg: turn of the colours about the grey axis.
        saturation: factor on the distance from grey.
        blur_px: standard deviation of a Gaussian blur.
        noise: standard deviation of white noise, in units of full scale.
        noise_seed: fixes that noise.
        tilt_deg: turns of a volume in the (D, H) and in the (D, W) plane.
        erased: first corner and extent of a box along H and W that is filled with mid-grey; None for none.
    """

    flips: tuple[bool, ...]
    rotate_deg: float = 0.0
    scale: float = 1.0
    shear_deg: float = 0.0
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    hue_deg: float = 0.0
    saturation: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    erased: tuple[float, float, float, float] | None = None
    tilt_deg: tuple[float, float] = (0.0, 0.0)

    def matrix(self, shape: tuple[int, ...], spacing: Sequence[float] | None = None) -> Float[np.ndarray, "R R"]:
        """Where each output pixel is taken from: index (with a 1 appended) to index, for a spatial shape.

        The content is mirrored, slanted, turned and magnified about the image's middle, then shifted.

        Args:
            shape: pixels along each axis.
            spacing: of the pixels along each axis, in any unit, so that turns stay turns where it differs; equal if not
                given.
        """
        axes, turn, slant = len(shape), np.deg2rad(self.rotate_deg), np.tan(np.deg2rad(self.shear_deg))
        forward = np.diag(np.where(self.flips, -1.0, 1.0))
        plane = slice(axes - 2, axes)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        forward[plane] = rotation @ np.array([[1.0, 0.0], [slant, 1.0]]) @ forward[plane]
        if axes == 3:
            for axis, tilt in zip((1, 2), np.deg2rad(self.tilt_deg), strict=True):
                turning = np.eye(3)
                turning[np.ix_((0, axis), (0, axis))] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
                forward = turning @ forward
        if spacing is not None:
            forward *= np.outer(1 / np.asarray(spacing), spacing)
        backward = np.linalg.inv(self.scale * forward)
        middle = (np.asarray(shape) - 1) / 2
        affine = np.eye(axes + 1)
        affine[:-1, :-1] = backward
        affine[:-1, -1] = middle - backward @ (middle + np.asarray(self.shift[:axes]) * shape)
        return affine

    @property
    def moves(self) -> bool:
        """Whether any geometry changes."""
        tilts = self.tilt_deg if len(self.flips) == 3 else ()
        shift = self.shift[: len(self.flips)]
        return any((*self.flips, self.rotate_deg, self.scale != 1.0, self.shear_deg, *shift, *tilts))


class Augmentation(Options):
    """How far images are changed at random in training; nothing by default."""

    flip: Share = Field(default=0.0, description="chance to mirror left and right")
    flip_vertical: Share = Field(default=0.0, description="chance to mirror top and bottom")
    flip_depth: Share = Field(default=0.0, description="chance to mirror the depth of a volume")
    rotate_deg: float = Field(default=0.0, ge=0, le=180, description="largest turn either way")
    tilt_deg: float = Field(
        default=0.0, ge=0, le=180, description="largest turn of a volume out of the (H, W) plane, about either axis"
    )
    scale: float = Field(default=0.0, ge=0, lt=1, description="largest magnification either way: 0.1 is 1/1.1 to 1.1")
    crop: float = Field(
        default=1.0, gt=0, le=1, description="smallest share of the area (volume) that a random crop keeps"
    )
    translate: Share = Field(default=0.0, description="largest shift along each axis, as a share of the size")
    shear_deg: float = Field(default=0.0, ge=0, lt=60, description="largest slant either way")
    gain: float = Field(default=0.0, ge=0, lt=1, description="largest relative change of contrast")
    offset: Share = Field(default=0.0, description="largest change of brightness, in units of full scale")
    gamma: float = Field(default=0.0, ge=0, lt=1, description="largest gamma either way: 0.2 is 1/1.2 to 1.2")
    noise: Share = Field(default=0.0, description="largest standard deviation of noise, in units of full scale")
    blur_px: float = Field(default=0.0, ge=0, description="largest standard deviation of a blur")
    hue_deg: float = Field(
        default=0.0, ge=0, le=180, description="largest turn of the colours; grey images stay as they are"
    )
    saturation: float = Field(default=0.0, ge=0, le=1, description="largest relative change of saturation")
    erase: Share = Field(default=0.0, description="chance to blank a box (Zhong et al., AAAI 2020)")
    erase_share: float = Field(default=0.15, gt=0, lt=1, description="largest share of the area that the box takes")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> AugmentParams:
        """Draw parameters; always as many numbers, so that one switch does not change what another draws.

        Args:
            rng: where randomness comes from.
            shape: of the array to be changed, `(C, H, W)` or `(C, D, H, W)`.
        """
        axes = len(shape) - 1
        mirrored, blanked = rng.random(3), rng.random()
        turn, zoom, slant, gain, offset, gamma, hue, saturation = rng.uniform(-1, 1, 8).tolist()
        blur, noise, kept, box, aspect = rng.random(5).tolist()
        shift, place, corner = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3), rng.random(2).tolist()
        crop = (self.crop + (1 - self.crop) * kept) ** (1 / axes)  # share of each axis that stays
        shifts = (self.translate * shift + place * (1 - crop) / (2 * crop))[-axes:]
        side, flat = (self.erase_share * (0.2 + 0.8 * box)) ** 0.5, 2 ** (aspect - 0.5)
        height, width = min(side * flat, 1.0), min(side / flat, 1.0)
        blank = (corner[0] * (1 - height), corner[1] * (1 - width), height, width)
        return AugmentParams(
            flips=tuple((mirrored < (self.flip_depth, self.flip_vertical, self.flip))[-axes:].tolist()),
            rotate_deg=self.rotate_deg * turn,
            scale=(1 + self.scale) ** zoom / crop,
            shear_deg=self.shear_deg * slant,
            shift=tuple(shifts.tolist()),
            gain=1 + self.gain * gain,
            offset=self.offset * offset,
            gamma=(1 + self.gamma) ** gamma,
            hue_deg=self.hue_deg * hue,
            saturation=1 + self.saturation * saturation,
            blur_px=self.blur_px * blur,
            noise=self.noise * noise,
            noise_seed=int(rng.integers(2**31)),
            erased=blank if blanked < self.erase else None,
            tilt_deg=tuple((self.tilt_deg * rng.uniform(-1, 1, 2)).tolist()),
        )

    def apply(
        self,
        array: PreparedImage,
        params: AugmentParams,
        size_px: tuple[int, ...] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> PreparedImage:
        """The changed copy of an image; the same for the same parameters.

        Args:
            array: `(C, H, W)` or `(C, D, H, W)`, 0 to 255. What is moved in from outside is 0.
            params: what to do.
            size_px: grid of the result over the same field of view, that of the array when not given: a finer array is
                moved and brought to the network's grid in one interpolation.
            spacing: of the array's pixels along each axis, in any unit; equal if not given.
        """
        space = array.shape[1:]
        if size_px is not None and tuple(size_px) != space:
            changed = _warp(array, params.matrix(space, spacing) @ between_grids(size_px, space), size_px)
        else:
            changed = _warp(array, params.matrix(space, spacing), space) if params.moves else array.copy()
        if len(array) == 3 and (params.hue_deg or params.saturation != 1.0):
            changed = _recolour(changed, params.hue_deg, params.saturation)
        if params.gain != 1.0 or params.offset or params.gamma != 1.0:
            changed = _grey_table(params).take(changed)
        if params.blur_px > 0:
            planes = changed.reshape(-1, *changed.shape[-2:])
            changed = np.stack([cv2.GaussianBlur(p, (0, 0), params.blur_px) for p in planes]).reshape(changed.shape)
        if params.noise > 0:
            noise = np.random.default_rng(params.noise_seed).standard_normal(changed.shape, dtype=np.float32)
            changed = _as_grey(changed + np.float32(255 * params.noise) * noise)
        if params.erased is not None:
            top, left, height, width = params.erased
            rows, columns = (size_px or space)[-2:]
            part = slice(round(top * rows), round((top + height) * rows))
            changed[..., part, round(left * columns) : round((left + width) * columns)] = 128
        return changed


@dataclass(frozen=True)
class MixupParams:
    """Image i becomes `weight * i + (1 - weight) * partner[i]`."""

    weight: float
    partner: Int[np.ndarray, " B"]


class Mixup(Options):
    """Blend pairs of images and their targets (Zhang et al., ICLR 2018)."""

    alpha: float = Field(default=0.0, ge=0, description="both parameters of the Beta distribution; 0 mixes nothing")

    def sample(self, rng: np.random.Generator, batch: int) -> MixupParams:
        """Draw one weight and the partners for a batch of a size."""
        weight, partner = rng.beta(self.alpha or 1.0, self.alpha or 1.0), rng.permutation(batch)
        return MixupParams(float(weight) if self.alpha else 1.0, partner)

    def apply(
        self, images: Float[np.ndarray, "B *rest"], targets: Float[np.ndarray, "B L"], params: MixupParams
    ) -> tuple[Float[np.ndarray, "B *rest"], Float[np.ndarray, "B L"]]:
        """The blended batch; a target that either partner does not know stays unknown (NaN)."""
        if params.weight == 1.0:
            return images, targets
        own, other = params.weight, 1.0 - params.weight
        return own * images + other * images[params.partner], own * targets + other * targets[params.partner]


def _warp(array: PreparedImage, matrix: Float[np.ndarray, "R R"], size_px: tuple[int, ...]) -> PreparedImage:
    """Take every output pixel from where the matrix says, linearly between pixels."""
    if len(size_px) == 3:
        depth, height, width = size_px
        return np.stack([warp_volume(channel, matrix, (depth, height, width)) for channel in array])
    height, width = size_px
    plane = matrix[[1, 0, 2]][:, [1, 0, 2]][:2]  # OpenCV counts (x, y)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([np.asarray(cv2.warpAffine(c, plane, (width, height), flags=flags), np.uint8) for c in array])


def _recolour(array: PreparedImage, hue_deg: float, saturation: float) -> PreparedImage:
    """Turn colours about the grey axis (Rodrigues) and stretch their distance from it."""
    turn, cross = np.deg2rad(hue_deg), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = np.cos(turn) * np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * _COLOUR_AXIS
    change = _COLOUR_AXIS + saturation * (rotation - _COLOUR_AXIS)
    flat = array.reshape(3, -1).astype(np.float32)
    return _as_grey(change.astype(np.float32) @ flat).reshape(array.shape)


def _grey_table(params: AugmentParams) -> PreparedImage:
    level = np.clip(params.gain * (np.arange(256) / 255.0 - 0.5) + 0.5 + params.offset, 0.0, 1.0)
    return _as_grey(255.0 * level**params.gamma)


def _as_grey(values: Float[np.ndarray, "*any"]) -> PreparedImage:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
