"""PNG, JPEG, TIFF and BMP -> `Image`: upright by EXIF, palettes expanded, alpha on black, white highest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from jaxtyping import Shaped

from resight.errors import ImageError
from resight.imaging.chain import Chain
from resight.imaging.display import VOI, display
from resight.imaging.png import has_chunk, inflated
from resight.imaging.sniff import Kind, check_size
from resight.types import Image, Step

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I", "F")
_REDUCED = {
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
PIL.Image.preinit()  # the first picture would otherwise wait for it
# what is wrong with a file is said once, by our error; OpenCV would print it besides
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_raster(path: Path, kind: Kind, voi: VOI, at_least_px: int | None) -> Image:
    """Read one picture.

    Args:
        path: the file.
        kind: what its content is.
        voi: grey policy; `auto` leaves 8-bit pictures alone, and colour is never windowed.
        at_least_px: a JPEG may be decoded at half, quarter or eighth size if its short side stays at least this long.

    Raises:
        ImageError: damaged, truncated, too large, or several pages.
    """
    where = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", where=where) from error
    facts, orientation = _facts(data, where)
    factor = _reduction(facts, at_least_px) if kind == "jpeg" else 1
    pixels = _decode(data, kind, facts, factor, where)
    history = [Step("read", {"format": kind.upper(), "colour_mode": facts["colour_mode"], "reduced": factor})]
    pixels, more = _without_alpha(pixels, str(facts["colour_mode"]))
    history.extend(more)
    # OpenCV turns TIFF by itself, and only TIFF when it is asked for the file as it is
    if orientation != 1 and kind != "tiff":
        pixels = _turned(pixels, orientation)
        history.append(Step("upright", {"exif_orientation": orientation}))
    if pixels.ndim == 3:
        if pixels.dtype != np.uint8:
            pixels = (pixels / np.float32(np.iinfo(pixels.dtype).max)).astype(np.float32)
        channels = np.moveaxis(pixels, -1, 0)
    else:
        integer = pixels.dtype.kind != "f"
        # OpenCV inverts up to 8 bits where 0 is white (TIFF 6.0 section 4), and leaves more bits as they are
        inverted = "white_is_zero" in facts and pixels.dtype != np.uint8
        bits = 8 * pixels.itemsize if integer else 0
        chain = Chain("OT", bits, pixels.dtype.kind == "i", inverted=inverted)
        grey, steps = display(pixels, chain, voi)
        channels = grey[np.newaxis]
        history.extend(steps)
    return Image(channels, (math.nan, math.nan), "OT", where, tuple(history), None, facts)


def describe_raster(path: Path) -> dict[str, str | float | int]:
    """Header facts without decoding.

    Raises:
        ImageError: the header is damaged.
    """
    with path.open("rb") as stream, _pillow(str(path)), PIL.Image.open(stream) as opened:
        return _facts_of(opened)


def _facts(data: bytes, where: str) -> tuple[dict[str, str | float | int], int]:
    with _pillow(where), PIL.Image.open(BytesIO(data)) as opened:
        facts = _facts_of(opened)
        pages = int(getattr(opened, "n_frames", 1)) if opened.format == "TIFF" else 1
        # Pillow decodes the whole PNG to look for an orientation behind the pixels
        has_exif = opened.format != "PNG" or has_chunk(data, b"eXIf")
        orientation = int(opened.getexif().get(_ORIENTATION, 1)) if has_exif else 1
    check_size(int(facts["width"]) * int(facts["height"]) * 4, where)
    if pages > 1:
        raise ImageError(f"{pages} pages", where=where, expected="one picture", fix="Split the file by page.")
    return facts, orientation if 1 <= orientation <= 8 else 1


def _facts_of(opened: PIL.Image.Image) -> dict[str, str | float | int]:
    bits = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}.get(opened.mode, 8)
    tags: Any = getattr(opened, "tag_v2", {})
    if _BITS_PER_SAMPLE in tags:
        bits = int(np.max(tags[_BITS_PER_SAMPLE]))
    polarity = {"white_is_zero": 1} if tags.get(_PHOTOMETRIC) == 0 else {}
    return {
        **polarity,
        "width": opened.width,
        "height": opened.height,
        "frames": 1,
        "bits": bits,
        "colour_mode": opened.mode,
        "encoding": str(opened.format),
        "modality": "OT",
    }


def _reduction(facts: dict[str, str | float | int], at_least_px: int | None) -> int:
    short = min(int(facts["width"]), int(facts["height"]))
    fitting = [factor for factor in (8, 4, 2) if at_least_px is not None and short // factor >= at_least_px]
    return fitting[0] if fitting else 1


def _decode(
    data: bytes, kind: Kind, facts: dict[str, str | float | int], factor: int, where: str
) -> Shaped[np.ndarray, "H W *C"]:
    mode = str(facts["colour_mode"])
    # the end is looked for from behind, where it is: the scan between is the most of the file
    if kind == "jpeg" and data.rfind(b"\xff\xd9") <= data.find(b"\xff\xda"):
        # OpenCV before 5 fills the rest with grey and says nothing
        raise ImageError("truncated: no end of image after the scan", where=where)
    if kind in ("tiff", "bmp") and mode not in ("1", "L", "I;16", "I;16B", "RGB", "P"):
        return _by_pillow(data, where)
    flags = cv2.IMREAD_UNCHANGED
    if factor > 1:
        flags = _REDUCED[factor][mode != "L"] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(inflated(data) if kind == "png" else data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f"the {kind.upper()} data are damaged or truncated", where=where)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels


def _by_pillow(data: bytes, where: str) -> Shaped[np.ndarray, "H W *C"]:
    """What OpenCV changes or refuses: 32-bit and float grey, alpha and CMYK in TIFF."""
    with _pillow(where), PIL.Image.open(BytesIO(data)) as opened:
        return np.asarray(opened if opened.mode in ("I", "F", "RGBA", "LA") else opened.convert("RGB"))


def _without_alpha(pixels: Shaped[np.ndarray, "H W *C"], mode: str) -> tuple[Shaped[np.ndarray, "H W *C"], list[Step]]:
    """Composite on black; what is grey by its header becomes one channel."""
    steps: list[Step] = []
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:]
        full = np.iinfo(pixels.dtype).max
        transparent = float((alpha < full).mean())
        colours = pixels[..., :-1]
        if transparent:
            colours = np.rint(colours * (alpha / full)).astype(pixels.dtype)
        pixels = colours[..., 0] if colours.shape[2] == 1 else colours
        steps.append(Step("alpha composited on black", {"share_not_opaque": round(transparent, 4)}))
    if pixels.ndim == 3 and mode in _GREY_MODES:
        pixels = pixels[..., 0]
    if mode == "P" and pixels.ndim == 3:
        steps.append(Step("palette expanded"))
    return np.ascontiguousarray(pixels), steps


def _turned(pixels: Shaped[np.ndarray, "H W *C"], orientation: int) -> Shaped[np.ndarray, "H W *C"]:
    """Undo EXIF orientation (EXIF 2.32, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = np.flip(pixels, 0)
    if orientation in (2, 3, 6, 7):
        pixels = np.flip(pixels, 1)
    return np.ascontiguousarray(pixels)


@contextmanager
def _pillow(where: str) -> Iterator[None]:
    """Pillow's own errors and warnings as ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        warnings.simplefilter("error", category=PIL.Image.DecompressionBombWarning)
        try:
            yield
        except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError) as error:
            raise ImageError(f"the picture cannot be decoded ({type(error).__name__})", where=where) from None
        except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
            raise ImageError("the header promises too many pixels", where=where) from None
