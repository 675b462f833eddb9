"""One part of the images: fetched, prepared and answered, with the time that each stage took."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from resight.bulk.listing import ImageList
from resight.bulk.stores import fetch, is_url
from resight.cohorts import load_clinical
from resight.errors import ImageError
from resight.models import Device, Doubt, EngineName, Named, Predictor, Unnamed, WantedPrecision
from resight.predictions import Predictions
from resight.tables import write_table
from resight.types import PreparedImage, Scores

STAGES = ("fetch", "prepare", "network", "write")
"""Stages whose seconds are added up; those of threads that work side by side count in full."""


@dataclass(frozen=True)
class Work:
    """All that decides what the rows of a part say; see `Predictor.load` and `Predictor.predict`."""

    bundle: str
    engine: EngineName = "torch"
    precision: WantedPrecision = "fp32"
    device: Device = "auto"
    table: str | None = None
    operating_point: str | None = None
    budget: float | None = None
    doubt: Doubt | None = None
    passes: int = 20
    novelty: bool = False
    batch: int = 32
    part_images: int = 1024
    suffix: Literal[".csv", ".parquet"] = ".csv"


@dataclass(frozen=True)
class FinishedPart:
    """A part as bytes of its file.

    Attributes:
        number: from 1.
        data: the file.
        images: how many it holds.
        failed: how many of them could not be used.
        seconds: what each stage took.
    """

    number: int
    data: bytes
    images: int
    failed: int
    seconds: dict[str, float]


class PartPredictor:
    """Predicts part after part with a bundle that is read once.

    Args:
        work: what to do.
        threads: that fetch and prepare images.

    Raises:
        SettingsError: engine, device or precision are not available.
        BundleError: it cannot be used.
        CohortError: the clinical table cannot be read.
    """

    def __init__(self, work: Work, threads: int = 2) -> None:
        self.work, self._threads = work, threads
        loaded = StagedPredictor.load(work.bundle, device=work.device, precision=work.precision, engine=work.engine)
        assert isinstance(loaded, StagedPredictor)
        self.predictor = loaded
        self._table = None if work.table is None else load_clinical(Path(work.table))
        self._short = None if self._table is None else self._table["image"].astype(str).map(_short)

    def __call__(self, images: ImageList, number: int) -> FinishedPart:
        """Predict one part.

        Args:
            images: the list that the part is of.
            number: of the part, from 1.

        Raises:
            SettingsError: the bundle cannot say what is asked.
            CohortError: the clinical table does not fit.
        """
        begin, stages = time.perf_counter(), self.predictor.stages
        stages.seconds.clear()
        pairs = images.part(number, self.work.part_images)
        predictions = self._predict(pairs)
        with stages.measure("write"):
            data = _file_bytes(predictions.table, self.work.suffix)
        failed = int(predictions.images()["error"].notna().sum())
        seconds = {stage: stages.seconds[stage] for stage in STAGES} | {"part": time.perf_counter() - begin}
        return FinishedPart(number, data, len(pairs), failed, seconds)

    def check(self) -> None:
        """Find out, before the first image is read, whether the bundle can say what is asked.

        Raises:
            SettingsError: it cannot, or an option is wrong.
            CohortError: the clinical table does not fit.
        """
        self._predict([])

    def _predict(self, pairs: list[tuple[str, str]]) -> Predictions:
        work = self.work
        return self.predictor.predict(
            [Named(name, place if is_url(place) else Path(place)) for name, place in pairs],
            table=self._rows_of([name for name, _ in pairs]),
            operating_point=work.operating_point,
            budget=work.budget,
            doubt=work.doubt,
            passes=work.passes,
            novelty=work.novelty,
            batch=work.batch,
            workers=self._threads,
        )

    def _rows_of(self, names: list[str]) -> pd.DataFrame | None:
        """The clinical rows that these images can be meant by, so that a part does not go through the whole table."""
        if self._table is None or self._short is None:
            return None
        return self._table.loc[self._short.isin({_short(name) for name in names})]


class Stopwatch:
    """Adds up seconds by stage, of threads that work side by side.

    Attributes:
        seconds: by stage.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._adding = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time until the end of the block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._adding:
                self.seconds[stage] += time.perf_counter() - begin


class StagedPredictor(Predictor):
    """A predictor that also takes URLs, and adds up what its stages took.

    Attributes:
        stages: what they took.
    """

    @cached_property
    def stages(self) -> Stopwatch:
        """Seconds by stage, over all threads."""
        return Stopwatch()

    def prepare(self, source: Unnamed, name: str = "array") -> PreparedImage:
        """What the network sees of one image; of a URL, a copy is fetched and removed again.

        Raises:
            ImageError: it cannot be fetched, read or used.
        """
        if not isinstance(source, str) or not is_url(source):
            with self.stages.measure("prepare"):
                return super().prepare(source, name)
        with tempfile.TemporaryDirectory(prefix="resight-") as folder:
            with self.stages.measure("fetch"):
                copy = fetch(source, Path(folder))
            try:
                with self.stages.measure("prepare"):
                    return super().prepare(copy, name)
            except ImageError as error:
                where = error.where.replace(str(copy), source)
                found = error.found.replace(str(copy), source)
                raise ImageError(found, where=where, expected=error.expected, fix=error.fix) from error

    def logits(
        self, prepared: UInt8[np.ndarray, "B C *space"], clinical: Float[np.ndarray, "B T"] | None = None
    ) -> Scores:
        """Logits of prepared images, as `Predictor.logits`."""
        with self.stages.measure("network"):
            return super().logits(prepared, clinical)


def _short(name: str) -> str:
    return Path(name).name


def _file_bytes(table: pd.DataFrame, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="resight-") as folder:
        path = Path(folder) / f"part{suffix}"
        write_table(table, path)
        return path.read_bytes()
