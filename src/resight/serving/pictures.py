"""Images as people see them, read once and kept for a while: values of full depth, and evidence that lies over them."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Shaped, UInt8
from pydicom.dataset import Dataset

from resight.explain import PlacedEvidence
from resight.findings import source_dataset
from resight.findings.base import as_bytes
from resight.imaging import VOI, Sandbox
from resight.imaging.geometry import as_stored, axes_of
from resight.serving.models import LoadedModel
from resight.serving.parts import Parts
from resight.serving.schema import Instance, Study
from resight.types import Image

STACKED: Final = ("CT", "MR", "PT", "NM")
"""Modalities whose series are shown as one volume."""
_MOST_CACHED: Final = 256 * 2**20
_FULL_SCALE: Final = 65535


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


class Pictures:
    """Reads images for people, and keeps the newest few.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kept: OrderedDict[tuple[str, ...], Picture | PlacedEvidence] = OrderedDict()
        self._making: dict[tuple[str, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def picture(self, instances: Sequence[Instance]) -> Picture:
        """An image, or the volume that a series is, in the order its slices were stored in.

        Raises:
            ImageError: it cannot be read.
        """
        found = self._cached(("", *_digests(instances)), lambda: self._read(instances))
        assert isinstance(found, Picture)
        return found

    def in_service(self, model: str, version: str, label: str) -> LoadedModel:
        """The version of a model that says something of a label.

        Raises:
            LookupError: it is not in service, or has no such label.
        """
        loaded = self._parts.models.current(model)
        if loaded is None or loaded.identity.version != version:
            raise LookupError("the version that answered is not in service any more")
        if label not in loaded.predictor.manifest.labels:
            raise LookupError("the model has no such label")
        return loaded

    def evidence(self, instances: Sequence[Instance], model: str, version: str, label: str) -> PlacedEvidence:
        """Where a model sees its labels, on the pixels of the picture.

        Raises:
            LookupError: it says nothing of this label and image, with the reason.
            ImageError: the image cannot be read.
        """
        loaded = self.in_service(model, version, label)
        manifest = loaded.predictor.manifest

        def explain() -> PlacedEvidence:
            image = read_image(self._parts.sandbox, self._parts.service.folder, instances, manifest.recipe.voi)
            if image.pixels.ndim - 1 != manifest.dims:
                shown, reads = ("volumes", "single images")[:: 1 if image.pixels.ndim == 4 else -1]
                raise LookupError(f"the model reads {reads}, and these are shown as {shown}")
            found = loaded.evidence(image)
            if found is None:
                raise LookupError("the settings name no explainer for this model")
            return found.turned(axes_of(image)) if image.pixels.ndim == 4 else found

        found = self._cached((model, version, *_digests(instances)), explain)
        assert isinstance(found, PlacedEvidence)
        return found

    def _cached(self, key: tuple[str, ...], make: Callable[[], Picture | PlacedEvidence]) -> Picture | PlacedEvidence:
        """What is kept under a key, or is made once, however many ask for it at the same time."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            try:
                made = make()
                with self._lock:
                    self._kept[key] = made
                    while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > _MOST_CACHED:
                        self._kept.popitem(last=False)
                return made
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _read(self, instances: Sequence[Instance]) -> Picture:
        sandbox, folder = self._parts.sandbox, self._parts.service.folder
        shown = as_stored(read_image(sandbox, folder, instances, VOI()))
        window, spacing = _window(shown), _spacing(shown)
        if window is None:
            return _as_shown(shown)
        unit = "HU" if shown.modality == "CT" else ""
        del shown  # a large volume is not held twice
        whole = as_stored(read_image(sandbox, folder, instances, VOI(mode="percentile", percentiles=(0, 100))))
        steps = {step.name: step.parameters for step in whole.history}
        inverted = bool(steps["presentation"]["inverted"])
        low, high = float(steps["voi"]["low"]), float(steps["voi"]["high"])
        values = np.empty(whole.pixels.shape, "<u2")
        for place in np.ndindex(values.shape[:-2]):  # a large volume is not held in floating point twice
            plane = whole.pixels[place]
            values[place] = np.rint((1 - plane if inverted else plane) * _FULL_SCALE)
        return Picture(_stacked(values), low, max(high, low + 1e-6), *window, inverted, unit, spacing)


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


def source_of(instance: Instance) -> Dataset:
    """What results repeat of the header of an instance."""
    kept = instance.header
    return source_dataset(kept["texts"], kept["numbers"], kept["transfer_syntax"])


def images_of(study: Study) -> list[list[Instance]]:
    """What the viewer shows of a study, one entry an image: volumes as one, in the order of their arrival."""
    images: dict[str, list[Instance]] = {}
    for one in study.instances:
        if one.state == "image":
            images.setdefault(one.series_uid if one.modality in STACKED else one.sop_uid, []).append(one)
    return list(images.values())


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
        values = as_bytes(image.pixels)
    else:
        values = np.rint(image.pixels * _FULL_SCALE).astype("<u2")
    return Picture(_stacked(values), 0.0, 255.0, 127.5, 255.0, False, "grey", _spacing(image))


def _stacked(values: Shaped[np.ndarray, "C *space"]) -> Shaped[np.ndarray, "D H W C"]:
    stacked = np.moveaxis(values, 0, -1)
    return np.ascontiguousarray(stacked[None] if stacked.ndim == 3 else stacked)


def _spacing(image: Image) -> tuple[float, float] | None:
    last = image.spacing_mm[-2:]
    return (float(last[0]), float(last[1])) if len(last) == 2 and np.isfinite(last).all() else None


def _digests(instances: Sequence[Instance]) -> list[str]:
    return [one.sha256 for one in instances]


def _size(kept: Picture | PlacedEvidence) -> int:
    return kept.values.nbytes if isinstance(kept, Picture) else kept.maps.nbytes
