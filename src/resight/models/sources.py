"""What can be predicted: files, folders, arrays, images, or the images of one patient by modality; with their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resight.errors import ImageError, nearest
from resight.imaging import list_images, read
from resight.models.manifest import Manifest
from resight.types import Image, Pixels

OneImage = str | Path | Pixels | Image


@dataclass(frozen=True)
class Named:
    """An image under a name of its own, where its path is not what the row shall be called."""

    name: str
    source: OneImage


Unnamed = OneImage | Mapping[str, OneImage | None]
"""One image, or the images of one patient by modality, None (or left away) where one is missing."""
Source = Unnamed | Named
"""The same, or under a name of its own."""


def named_sources(sources: Iterable[Source], *, relative: bool, volumes: bool = False) -> Iterator[tuple[str, Unnamed]]:
    """Sources one by one with the name of their row.

    Args:
        sources: whatever can be predicted.
        relative: images of a folder are named within it.
        volumes: as for `list_images`.
    """
    for index, source in enumerate(sources):
        if isinstance(source, Named):
            yield source.name, source.source
        elif isinstance(source, np.ndarray):
            yield f"array_{index}", source
        elif isinstance(source, Image):
            yield source.source_id or f"image_{index}", source
        elif isinstance(source, Mapping):
            first = next((one for one in source.values() if one is not None), None)
            yield (str(first) if isinstance(first, str | Path) else f"patient_{index}"), source
        elif not (path := Path(source)).is_dir() or (found := list_images(path, volumes=volumes)) in ([path], []):
            yield str(source), path
        else:
            yield from ((file.relative_to(path).as_posix() if relative else str(file), file) for file in found)


def images_by_modality(source: Unnamed, manifest: Manifest, name: str) -> list[Image | None]:
    """The images of one patient in the order of the modalities; None where one is missing.

    Raises:
        ImageError: one image instead of a mapping, a modality that the model does not read, or an unreadable file.
    """
    names = manifest.modalities
    if not isinstance(source, Mapping):
        expected = f"a mapping with {', '.join(names)}"
        raise ImageError("one image", where=name, expected=expected, fix="Give a table that names all of them.")
    if strange := sorted(set(source) - set(names)):
        raise ImageError(f"unknown modality {strange[0]!r}", where=name, fix=nearest(strange[0], names))
    found: list[Image | None] = []
    for modality in manifest.recipe.modalities:
        one = source.get(modality.name)
        if isinstance(one, str | Path):
            one = read(Path(one), voi=modality.voi or manifest.recipe.voi)
        found.append(as_image(one, manifest.dims, name) if isinstance(one, np.ndarray) else one)
    return found


def as_image(array: Pixels, dims: int, name: str) -> Image:
    """An array as an image of unknown spacing.

    Raises:
        ImageError: shape, type or range is not that of an image.
    """
    pixels = array[None] if array.ndim == dims else array
    if pixels.ndim != dims + 1 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape:
        expected = f"channels first, 1 or 3 of them, then {dims} axes"
        raise ImageError(f"an array of shape {array.shape}", where=name, expected=expected)
    if pixels.dtype != np.uint8:
        if not np.issubdtype(pixels.dtype, np.floating):
            raise ImageError(f"an array of {array.dtype}", where=name, expected="uint8, or floats in [0, 1]")
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            found = f"values from {pixels.min():g} to {pixels.max():g}"
            raise ImageError(found, where=name, expected="floats in [0, 1], or uint8")
        pixels = pixels.astype(np.float32)
    return Image(pixels, (float("nan"),) * dims, "OT", name)
