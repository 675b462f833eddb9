"""The recipe that turns any image into the network's input, the same in training and in service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from jaxtyping import Bool
from pydantic import Field, model_validator

from resight.errors import ImageError
from resight.imaging import VOI, read
from resight.preprocess.colour import shades_of_grey
from resight.preprocess.geometry import Affine, AxisFit, Resize, fit, place, to_original
from resight.preprocess.intensity import Standardisation, standardise
from resight.preprocess.registered import Align, registered
from resight.settings import Options
from resight.types import Files, Image, Pixels, PreparedImage

_ARITHMETIC = 1  # to be raised when the same settings would give other pixels than before


class Modality(Options):
    """One of several images of a patient: a column of the cohort, and how its grey levels are read."""

    name: str = Field(description="column of the cohort that names the files")
    voi: VOI | None = Field(default=None, description="which grey levels are shown; those of the recipe if not given")
    intensity: Standardisation | None = Field(default=None, description="as in the recipe, for this modality alone")


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

    modalities: tuple[Modality, ...] = Field(
        default=(), description="several images of each patient, stacked as channels; empty: one image"
    )
    align: Align = Field(
        default="require", description="require one grid of all modalities, resample to the first, or independent views"
    )

    @model_validator(mode="after")
    def _several(self) -> Recipe:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) < len(names) or len(names) == 1:
            raise ValueError("two or more modalities with different names, or none")
        return self

    @model_validator(mode="after")
    def _same_axes(self) -> Recipe:
        if self.spacing_mm is not None and len(self.spacing_mm) != len(self.size_px):
            raise ValueError(f"one spacing for each of the {len(self.size_px)} axes")
        return self

    @property
    def input_channels(self) -> int:
        """Channels of the network's input, all modalities together."""
        return self.channels * max(len(self.modalities), 1)

    def prepare(self, files: Files) -> PreparedImage:
        """Read a file, or one of each modality, and apply the recipe.

        Raises:
            ImageError: it cannot be read, has another number of axes, or modalities do not lie on one grid.
        """
        if isinstance(files, Path):
            self._check_count(1, str(files))
            return self.apply(read(files, voi=self.voi, at_least_px=max(self.size_px)))
        self._check_count(len(files), str(next(filter(None, files), "")))
        images = [
            None if path is None else read(path, voi=modality.voi or self.voi)
            for path, modality in zip(files, self.modalities, strict=True)
        ]
        return self.stack(images)

    def stack(self, images: Sequence[Image | None]) -> PreparedImage:
        """What the network sees of several images of one patient, side by side as channels; 0 where one is missing.

        Args:
            images: one for each modality, in order; None where it is missing.

        Raises:
            ImageError: there is none, one has another number of axes, or they do not lie on one grid.
        """
        placed = registered(images, [modality.name for modality in self.modalities], self.align)
        nothing = np.zeros((self.channels, *self.size_px), np.uint8)
        parts = [
            nothing
            if image is None
            else self.model_copy(update={"intensity": modality.intensity or self.intensity}).apply(image)
            for image, modality in zip(placed, self.modalities, strict=True)
        ]
        return np.concatenate(parts)

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

    def place_region(self, image: Image, region: Bool[np.ndarray, "*space"]) -> Bool[np.ndarray, "*prepared"]:
        """A region of an image, such as a finding, on the prepared grid; the smallest one keeps a pixel.

        Args:
            image: as `apply` takes it.
            region: on its pixels.

        Returns:
            True where at least half a prepared pixel lies in it, or in the fullest pixel where none does.

        Raises:
            ImageError: the image has another number of axes than the recipe.
        """
        self._check_axes(image)
        share = place(region[None].astype(np.float32), self._fit(image))[0]
        return (share > 0) & (share >= min(0.5, share.max()))

    def fingerprint(self) -> str:
        """SHA-256 that is equal exactly for recipes that prepare the same pixels."""
        settings = self.model_dump(mode="json")
        if self.intensity is None:  # recipes from before there was this option prepare the same pixels
            del settings["intensity"]
        if self.colour == "as_stored":
            del settings["colour"]
        if not self.modalities:
            del settings["modalities"], settings["align"]
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

    def _check_count(self, images: int, where: str) -> None:
        wanted = max(len(self.modalities), 1)
        if images != wanted:
            names = ", ".join(modality.name for modality in self.modalities)
            expected = f"{wanted} ({names})" if names else "1"
            raise ImageError(f"{images} image(s) of a patient", where=where, expected=expected)

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
