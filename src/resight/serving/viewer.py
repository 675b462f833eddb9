"""Images for the viewer: values of full depth in units of the modality, pictures in grey, and evidence over them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response
from jaxtyping import Float, Shaped, UInt8

from resight.errors import ImageError
from resight.imaging import VOI, Sandbox
from resight.serving.access import Reader, TheParts
from resight.serving.pages import Key
from resight.serving.parts import Parts
from resight.serving.reader_studies import may_see_answer
from resight.serving.schema import Instance, Study
from resight.types import Image

router = APIRouter(prefix="/studies/{key}/images/{number}", include_in_schema=False)

STACKED: Final = ("CT", "MR", "PT", "NM")
"""Modalities whose series are shown as one volume."""
_MOST_CACHED: Final = 256 * 2**20
_FULL_SCALE: Final = 65535
_HUES: Final = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
"""Okabe and Ito's colours, which people with any colour vision tell apart."""
_VIEW_S: Final = 600.0
"""Fetching the same again within this time is the same look at it."""
_LOWEST_EVIDENCE: Final = 0.15
"""Share of the strongest evidence below which nothing is drawn."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One image or volume as a viewer needs it.

    Attributes:
        values: `(D, H, W, C)`, 16 bits for grey and 8 for colour.
        low: what 0 stands for, in `unit`.
        high: what the highest value stands for.
        center: of the window it opens with.
        width: of that window.
        inverted: shown with low values white.
        unit: `HU`, empty for other values of the modality, `grey` where the header maps them by a table.
        spacing_mm: of rows and columns; None where not known.
    """

    values: Shaped[np.ndarray, "D H W C"]
    low: float
    high: float
    center: float
    width: float
    inverted: bool
    unit: str
    spacing_mm: tuple[float, float] | None

    def facts(self) -> dict[str, Any]:
        """What the viewer has to know before it asks for pixels."""
        depth, height, width, channels = self.values.shape
        return {
            "slices": depth,
            "height": height,
            "width": width,
            "channels": channels,
            "bytes": self.values.dtype.itemsize,
            "low": self.low,
            "high": self.high,
            "window_center": self.center,
            "window_width": self.width,
            "inverted": self.inverted,
            "unit": self.unit,
            "spacing_mm": self.spacing_mm,
        }

    def grey(self, place: int, center: float, width: float) -> UInt8[np.ndarray, "H W C"]:
        """One slice in a window, as 8 bits."""
        top = np.iinfo(self.values.dtype).max
        scaled = self.low + self.values[place].astype(np.float32) * ((self.high - self.low) / top)
        shown = np.clip((scaled - center) / width + 0.5, 0, 1)
        return np.rint((1 - shown if self.inverted else shown) * 255).astype(np.uint8)


class Views:
    """Who looks at what, one entry of the audit trail for each in ten minutes: a volume is fetched slice by slice.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._noted: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, actor: str, study: int, what: str, **details: Any) -> None:
        """Write an entry, unless the same stands there already.

        Args:
            actor: who looks.
            study: number of the study.
            what: action of the entry.
            **details: what of the study.
        """
        key = (actor, str(study), what, *map(str, details.values()))
        moment = time.monotonic()
        with self._lock:
            for old in [old for old, noted in self._noted.items() if moment - noted > _VIEW_S]:
                del self._noted[old]
            if key in self._noted:
                return
        self._parts.service.audit(what, actor=actor, subject=f"study {study}", **details)
        with self._lock:
            self._noted[key] = moment


class Pictures:
    """Reads images for people, and keeps the newest few.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kept: OrderedDict[tuple[str, ...], Picture | bytes] = OrderedDict()
        self._lock = threading.Lock()

    def picture(self, instances: Sequence[Instance]) -> Picture:
        """An image, or the volume that a series is.

        Raises:
            ImageError: it cannot be read.
        """
        found = self._cached(("", *_digests(instances)), lambda: self._read(instances))
        assert isinstance(found, Picture)
        return found

    def overlay(self, instances: Sequence[Instance], model: str, version: str, label: str) -> bytes:
        """The evidence for a label as PNG with alpha.

        Raises:
            LookupError: there is none, with the reason.
            ImageError: the image cannot be read.
        """
        loaded = self._parts.models.current(model)
        if loaded is None or loaded.identity.version != version:
            raise LookupError("the version that answered is not in service any more")
        manifest = loaded.predictor.manifest
        if loaded.entry.explainer is None or manifest.dims != 2 or label not in manifest.labels:
            raise LookupError("the model gives no evidence for it")
        hue = _HUES[manifest.labels.index(label) % len(_HUES)]

        def draw() -> bytes:
            image = read_image(self._parts.sandbox, self._parts.service.folder, instances, manifest.recipe.voi)
            if image.pixels.ndim != 3:
                raise LookupError("evidence is drawn on single images only")
            return _png(_coloured(loaded.evidence(image, (label,))[1][label], hue))

        found = self._cached((version, label, *_digests(instances)), draw)
        assert isinstance(found, bytes)
        return found

    def _cached(self, key: tuple[str, ...], make: Callable[[], Picture | bytes]) -> Picture | bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > _MOST_CACHED:
                self._kept.popitem(last=False)
        return made

    def _read(self, instances: Sequence[Instance]) -> Picture:
        sandbox, folder = self._parts.sandbox, self._parts.service.folder
        shown = read_image(sandbox, folder, instances, VOI())
        window = _window(shown)
        if window is None:
            return _as_shown(shown)
        whole = read_image(sandbox, folder, instances, VOI(mode="percentile", percentiles=(0, 100)))
        steps = {step.name: step.parameters for step in whole.history}
        inverted = bool(steps["presentation"]["inverted"])
        grey = 1 - whole.pixels if inverted else whole.pixels
        low, high = float(steps["voi"]["low"]), float(steps["voi"]["high"])
        unit = "HU" if shown.modality == "CT" else ""
        values = np.rint(grey * _FULL_SCALE).astype("<u2")
        return Picture(_stacked(values), low, max(high, low + 1e-6), *window, inverted, unit, _spacing(shown))


def read_image(sandbox: Sandbox, folder: Path, instances: Sequence[Instance], voi: VOI) -> Image:
    """Read one instance, or all of a series together.

    Raises:
        ImageError: it cannot be read.
    """
    paths = [folder / one.file for one in instances]
    if len(paths) == 1:
        return sandbox.image(paths[0], voi)
    with tempfile.TemporaryDirectory(dir=folder / "incoming") as together:
        for path in paths:
            (Path(together) / path.name).hardlink_to(path)
        return sandbox.image(Path(together), voi)


def images_of(study: Study) -> list[list[Instance]]:
    """What the viewer shows of a study, one entry an image: volumes as one, in the order of their arrival."""
    images: dict[str, list[Instance]] = {}
    for one in study.instances:
        if one.state == "image":
            images.setdefault(one.series_uid if one.modality in STACKED else one.sop_uid, []).append(one)
    return list(images.values())


def pictures_of(request: Request) -> Pictures:
    """The reader of images of the application."""
    return request.app.state.pictures


ThePictures = Annotated[Pictures, Depends(pictures_of)]


def chosen_image(parts: TheParts, caller: Reader, key: Key, number: int) -> list[Instance]:
    """The instances of the image that a path names.

    Raises:
        HTTPException: 404 where there is no such study or image.
    """
    del caller  # asked for the check of the role
    with parts.service.store.read() as session:
        study = session.get(Study, key)
        images = [] if study is None else images_of(study)
    if not 0 <= number < len(images):
        raise HTTPException(404, "there is no such image")
    return images[number]


Chosen = Annotated[list[Instance], Depends(chosen_image)]


def views_of(request: Request) -> Views:
    """The notes of who looks at what, of the application."""
    return request.app.state.views


TheViews = Annotated[Views, Depends(views_of)]


def seen_image(caller: Reader, pictures: ThePictures, views: TheViews, chosen: Chosen, key: Key) -> Picture:
    """The image that a path names; that the caller sees it stands in the audit trail.

    Raises:
        HTTPException: 422 where it cannot be read.
    """
    try:
        found = pictures.picture(chosen)
    except ImageError as error:
        raise HTTPException(422, error.found) from None
    views.note(caller.actor, key, "image viewed", instance=chosen[0].id, instances=len(chosen))
    return found


Seen = Annotated[Picture, Depends(seen_image)]


@router.get("")
def facts(found: Seen) -> dict[str, Any]:
    """Size, units and window of an image."""
    return found.facts()


@router.get("/values")
def values(found: Seen, place: Annotated[int, Query(ge=0)] = 0) -> Response:
    """One slice, row by row: 16-bit little-endian grey, or 8-bit RGB."""
    _require_slice(found, place)
    return Response(found.values[place].tobytes(), media_type="application/octet-stream")


@router.get("/picture")
def picture(
    found: Seen,
    place: Annotated[int, Query(ge=0)] = 0,
    center: Annotated[float | None, Query(ge=-1e9, le=1e9)] = None,
    width: Annotated[float | None, Query(gt=0, le=1e9)] = None,
) -> Response:
    """One slice as PNG in a window: that of the header, or the one that is asked for."""
    _require_slice(found, place)
    grey = found.grey(place, found.center if center is None else center, found.width if width is None else width)
    return Response(_png(grey[:, :, ::-1] if grey.shape[2] == 3 else grey), media_type="image/png")


@router.get("/evidence")
def evidence(
    parts: TheParts,
    caller: Reader,
    pictures: ThePictures,
    views: TheViews,
    chosen: Chosen,
    key: Key,
    model: Annotated[str, Query(max_length=64)],
    version: Annotated[str, Query(max_length=64)],
    label: Annotated[str, Query(max_length=200)],
) -> Response:
    """Where a model saw a label: a transparent PNG that lies over the image."""
    with parts.service.store.read() as session:
        if not may_see_answer(session, caller.user_pk, key):
            raise HTTPException(403, "this case is part of a reader study and is read without the model now")
    try:
        drawn = pictures.overlay(chosen, model, version, label)
    except LookupError as error:
        raise HTTPException(404, str(error.args[0])) from None
    except ImageError as error:
        raise HTTPException(422, error.found) from None
    shown = {"instance": chosen[0].id, "model": model, "version": version, "label": label}
    views.note(caller.actor, key, "evidence viewed", **shown)
    return Response(drawn, media_type="image/png")


def _require_slice(found: Picture, place: int) -> None:
    if place >= len(found.values):
        raise HTTPException(404, "there is no such slice")


def _window(image: Image) -> tuple[float, float] | None:
    """Centre and width it is shown with; None where no window says how, or 8 bits are all there is."""
    steps = {step.name: step.parameters for step in image.history}
    if image.pixels.dtype == np.uint8 or "voi" not in steps or steps["presentation"]["presentation_lut"]:
        return None
    voi = steps["voi"]
    if "low" in voi:
        return (voi["low"] + voi["high"]) / 2, max(voi["high"] - voi["low"], 1e-6)
    return (voi["center"], voi["width"]) if voi.get("function", "").startswith("LINEAR") else None


def _as_shown(image: Image) -> Picture:
    """The image as its header wants it shown, in shares of full scale from 0 to 255."""
    colour = image.pixels.shape[0] == 3
    if colour or image.pixels.dtype == np.uint8:
        values = image.pixels if image.pixels.dtype == np.uint8 else np.rint(image.pixels * 255).astype(np.uint8)
    else:
        values = np.rint(image.pixels * _FULL_SCALE).astype("<u2")
    return Picture(_stacked(values), 0.0, 255.0, 127.5, 255.0, False, "grey", _spacing(image))


def _stacked(values: Shaped[np.ndarray, "C *space"]) -> Shaped[np.ndarray, "D H W C"]:
    stacked = np.moveaxis(values, 0, -1)
    return np.ascontiguousarray(stacked[None] if stacked.ndim == 3 else stacked)


def _spacing(image: Image) -> tuple[float, float] | None:
    last = image.spacing_mm[-2:]
    return (float(last[0]), float(last[1])) if len(last) == 2 and np.isfinite(last).all() else None


def _coloured(evidence: Float[np.ndarray, "H W"], hue: tuple[int, int, int]) -> UInt8[np.ndarray, "H W 4"]:
    """Stronger evidence hides more of the image; what is weak is left out."""
    strongest = float(evidence.max(initial=0.0))
    share = np.clip(evidence / strongest, 0, 1) if strongest > 0 else np.zeros_like(evidence)
    alpha = np.where(share < _LOWEST_EVIDENCE, 0, share)
    plane = np.empty((*evidence.shape, 4), np.uint8)
    plane[..., :3] = hue[::-1]
    plane[..., 3] = np.rint(alpha * 255)
    return plane


def _png(pixels: UInt8[np.ndarray, "H W C"]) -> bytes:
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()


def _digests(instances: Sequence[Instance]) -> list[str]:
    return [one.sha256 for one in instances]


def _size(kept: Picture | bytes) -> int:
    return len(kept) if isinstance(kept, bytes) else kept.values.nbytes
