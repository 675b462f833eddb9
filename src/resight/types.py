"""What crosses from room to room: small frozen values, without torch.

Axis letters in shapes: B batch, C channel, D H W depth height width, L label, F feature, N samples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped, UInt8

Pixels = Shaped[np.ndarray, "C *space"]
"""One image, channels first: `(C, H, W)` or `(C, D, H, W)`."""
FloatPixels = Float[np.ndarray, "C *space"]
"""The same in [0, 1]."""
PreparedImage = UInt8[np.ndarray, "C *space"]
"""What a recipe makes of an image: the network's grid, 0 to 255."""
PerSample = Shaped[np.ndarray, " N"]
Targets = Float[np.ndarray, "N L"]
Mask = Bool[np.ndarray, "N L"]
Scores = Float[np.ndarray, "N L"]
RowMask = Bool[np.ndarray, " N"]

Files = Path | tuple[Path | None, ...]
"""Where the pixels of one row are: a file or series folder, or one for each modality, None where it is missing."""

Task = Literal["binary", "multiclass", "multilabel"]

Progress = Callable[[str, int, int, str], None]
"""Told how far a long job is: `(stage, done, total, detail)`."""

RESERVED_COLUMNS = ("image", "patient_id", "split", "fold")
"""Columns of a cohort table that are neither labels nor attributes."""

OUTCOME_COLUMNS = ("time", "event")
"""Columns of a table that tells when an event came: how long a patient was followed, and whether it ended that."""


def silent(stage: str, done: int, total: int, detail: str) -> None:
    """The progress listener of those who do not listen."""
    del stage, done, total, detail


@dataclass(frozen=True)
class Step:
    """One thing that was done to an image, with the parameters it was done with."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Image:
    """One decoded image: upright, row-major, with the right polarity.

    Attributes:
        pixels: `(C, H, W)` or `(C, D, H, W)`; `uint8` where 255 is full scale, or `float32` in [0, 1].
            Volumes are ordered so that D runs to superior, H to posterior and W to the patient's left.
        spacing_mm: distance of neighbouring pixels along each spatial axis, in array order; NaN if unknown.
        modality: DICOM modality code (`CR`, `DX`, `CT`, `MR`, ...) or `OT`.
        source_id: the file or series it came from, as the user wrote it.
        history: what was done on the way from the file, first step first.
        affine: `(4, 4)` matrix from array index `(d, h, w, 1)` to patient millimetres (LPS), for volumes.
        attributes: header facts that identify nobody (view position, body part, photometric interpretation,
            stored width and height, colour mode, ...).
    """

    pixels: Pixels
    spacing_mm: tuple[float, ...]
    modality: str
    source_id: str
    history: tuple[Step, ...] = ()
    affine: Float[np.ndarray, "4 4"] | None = None
    attributes: Mapping[str, str | float | int] = field(default_factory=dict[str, str | float | int])

    def as_float(self) -> FloatPixels:
        """Pixels as `float32` in [0, 1]."""
        if self.pixels.dtype == np.uint8:
            return self.pixels.astype(np.float32) / 255.0
        return self.pixels.astype(np.float32, copy=False)

    def stepped(self, name: str, pixels: Pixels, **parameters: Any) -> Image:
        """A copy with new pixels and one more step of history."""
        return replace(self, pixels=pixels, history=(*self.history, Step(name, parameters)))


@dataclass(frozen=True)
class Cohort:
    """Who is in the study: one row an image.

    Attributes:
        table: columns `image` (path below `root`, POSIX style), `patient_id` (string, may be absent), `split`
            (`train`, `validation`, `test`; may be absent), one column per label, and attributes (`age`, `sex`,
            `view`, `site`, ...). A label is 1, 0, something between (smoothed), or NaN: not known, masked.
        labels: label columns in order. One for a binary task (the positive class); one per class, one-hot, for
            a multiclass task.
        task: what kind of classification this is.
        root: folder the image paths are relative to.
        name: short name for reports.
        notes: what the reader of the table did or noticed, one sentence each.
        modalities: columns that name several images of each row, blank where one is missing; empty for one image.
        horizons: ends of the time intervals that the labels stand for, where they tell when an event came.
    """

    table: pd.DataFrame
    labels: tuple[str, ...]
    task: Task
    root: Path
    name: str
    notes: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    horizons: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns that are neither labels nor reserved."""
        known = {*self.labels, *RESERVED_COLUMNS, *self.modalities, *(OUTCOME_COLUMNS if self.horizons else ())}
        return tuple(str(c) for c in self.table.columns if c not in known)

    @property
    def paths(self) -> list[Path]:
        """Absolute path of every image, in row order."""
        return [self.root / str(name) for name in self.table["image"]]

    @property
    def files(self) -> list[Files]:
        """The image of every row, or its images of all modalities, in row order."""
        if not self.modalities:
            return list(self.paths)
        names = self.table[list(self.modalities)].itertuples(index=False, name=None)
        return [tuple(self.root / str(name) if name else None for name in row) for row in names]

    def targets(self) -> Targets:
        """Targets in [0, 1]; NaN where the label is not known."""
        return self.table.loc[:, list(self.labels)].to_numpy(dtype=np.float64)

    def mask(self) -> Mask:
        """True where the label is known."""
        return ~np.isnan(self.targets())

    def rows(self, keep: RowMask) -> Cohort:
        """The cohort of the rows where `keep` is true."""
        return replace(self, table=self.table.loc[keep].reset_index(drop=True))

    def part(self, split: str) -> Cohort:
        """The rows of one split."""
        return self.rows((self.table["split"] == split).to_numpy())

    def fingerprint(self) -> str:
        """SHA-256 over image names, patients, splits and labels: equal exactly for equal studies."""
        columns = [c for c in (*RESERVED_COLUMNS, *self.modalities, *self.labels) if c in self.table.columns]
        text = self.table[columns].to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class MetricValue:
    """One number with its interval, or the reason why there is none.

    Attributes:
        value: the estimate; NaN when it is not defined.
        low: lower end of the interval, 95 % unless said otherwise; NaN when none was computed.
        high: upper end of the interval.
        n: how many samples it rests on.
        undefined_because: why `value` is NaN; empty otherwise.
        interval: how the interval was computed; empty when there is none.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    undefined_because: str = ""
    interval: str = ""

    @classmethod
    def undefined(cls, reason: str, n: int = 0) -> MetricValue:
        """A metric that cannot be estimated, with the reason."""
        return cls(value=math.nan, n=n, undefined_because=reason)

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"not estimable ({self.undefined_because})"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


@dataclass(frozen=True)
class Attribution:
    """Where in an image the evidence for one label lies.

    Attributes:
        map: one value per pixel of the image the explanation was asked for.
        label: the label it speaks of.
        method: name of the explainer.
    """

    map: Float[np.ndarray, "*space"]
    label: str
    method: str
