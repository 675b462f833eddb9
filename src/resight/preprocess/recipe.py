"""The recipe that turns any image into the network's input, the same in training and in service."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field, model_validator

from resight.errors import ImageError
from resight.imaging import VOI, read
from resight.preprocess.colour import shades_of_grey
from resight.preprocess.geometry import Affine, AxisFit, Resize, fit, place, to_original
from resight.preprocess.intensity import Standardisation, standardise
from resight.settings import Options
from resight.types import Image, Pixels, PreparedImage

_ARITHMETIC = 1  # to be raised when the same settings would give other pixels than before


class Recipe(Options):
    """Grid, channels and grey-level window of the network's input."""

    size_px: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(224, 224),
        min_length=2,
        max_length=3,
        description="(height, width), or (depth, height, width) for volumes",
    )
    channels: Literal[1, 3] = Field(
        default=1, description="1: grey, colour images by luminance; 3: grey images repeated"
    )
    resize: Resize = Field(default="letterbox", description="keep proportions and pad, fill each axis, or keep and cut")
    spacing_mm: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None,
        description="spacing to bring images of known spacing to; decides the scale instead of `resize`",
    )
    voi: VOI = Field(default=VOI.model_validate({}), description="which grey levels are shown")
    intensity: Standardisation | None = Field(
        default=None, description="grey levels relative to those of the subject, for MR images, which have no unit"
    )

    colour: Literal["as_stored", "shades_of_grey"] = Field(
        default="as_stored", description="whether the colour of the light is taken out of colour pictures"
    )

    @model_validator(mode="after")
    def _same_axes(self) -> Recipe:
        if self.spacing_mm is not None and len(self.spacing_mm) != len(self.size_px):
            raise ValueError(f"one spacing for each of the {len(self.size_px)} axes")
        return self

    def prepare(self, path: Path) -> PreparedImage:
        """Read a file and apply the recipe.

        Raises:
            ImageError: it cannot be read, or has another number of axes.
        """
        return self.apply(read(path, voi=self.voi, at_least_px=max(self.size_px)))

    def apply(self, image: Image) -> PreparedImage:
        """What the network sees of an image: `uint8`, `(channels, *size_px)`.

        Raises:
            ImageError: the image has another number of axes than the recipe.
        """
        self._check_axes(image)
        pixels = image.pixels if self.channels == 3 else _to_grey(image.pixels)
        if self.colour == "shades_of_grey":
            pixels = shades_of_grey(pixels)
        prepared = place(pixels, self._fit(image))
        if self.intensity is not None:
            scale = 255 if prepared.dtype == np.uint8 else 1
            prepared = standardise((prepared / scale).astype(np.float32), self.intensity)
        if prepared.dtype != np.uint8:
            prepared = np.rint(np.clip(prepared, 0.0, 1.0) * 255.0).astype(np.uint8)
        return prepared if len(prepared) == self.channels else np.repeat(prepared, self.channels, axis=0)

    def grid(self, image: Image) -> Affine:
        """Matrix from an index on the prepared grid (with a 1 appended) to the index in the upright original.

        The original has its full size, also where a JPEG was decoded smaller.

        Raises:
            ImageError: the image has another number of axes than the recipe.
        """
        self._check_axes(image)
        affine, factor = to_original(self._fit(image)), _reduction(image)
        affine[:-1] *= factor
        affine[:-1, -1] += (factor - 1) / 2
        return affine

    def fingerprint(self) -> str:
        """SHA-256 that is equal exactly for recipes that prepare the same pixels."""
        settings = self.model_dump(mode="json")
        if self.intensity is None:  # recipes from before there was this option prepare the same pixels
            del settings["intensity"]
        if self.colour == "as_stored":
            del settings["colour"]
        text = json.dumps([_ARITHMETIC, settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _fit(self, image: Image) -> tuple[AxisFit, ...]:
        return fit(
            image.pixels.shape[1:],
            self.size_px,
            self.resize,
            spacing_mm=image.spacing_mm,
            target_spacing_mm=self.spacing_mm,
        )

    def _check_axes(self, image: Image) -> None:
        axes = image.pixels.ndim - 1
        if axes != len(self.size_px):
            thin = "one slice" if len(self.size_px) == 3 else "a volume"
            raise ImageError(
                f"{thin}: the image has {axes} spatial axes ({'x'.join(map(str, image.pixels.shape[1:]))})",
                where=image.source_id,
                expected=f"{len(self.size_px)}, as size_px = {list(self.size_px)} of the recipe",
            )


def _to_grey(pixels: Pixels) -> Pixels:
    """Luminance by ITU-R BT.601, as every JPEG has it."""
    if len(pixels) == 1:
        return pixels
    rows = np.moveaxis(pixels.reshape(3, -1, pixels.shape[-1]), 0, -1)
    grey = cv2.cvtColor(np.ascontiguousarray(rows), cv2.COLOR_RGB2GRAY)
    return np.asarray(grey).reshape(1, *pixels.shape[1:])


def _reduction(image: Image) -> int:
    """The factor a JPEG was decoded smaller by: 1, 2, 4 or 8; the turn by EXIF does not matter."""
    full = max(int(image.attributes.get("height", 0)), int(image.attributes.get("width", 0)))
    return max(full // max(image.pixels.shape[1:]), 1) if image.pixels.ndim == 3 else 1
