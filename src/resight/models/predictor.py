"""The plain face of a bundle: paths or arrays in, a predictions table out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8

from resight.errors import ImageError, SettingsError, nearest
from resight.evaluation import BudgetPoint
from resight.models.adaptive import AdaptiveRunner
from resight.models.answer_table import Ask, answer_table, uncalibrated
from resight.models.bundle import Bundle, load_bundle
from resight.models.choice import EngineName, WantedPrecision, choose_engine
from resight.models.chunk_answers import ChunkAnswers, empty_answers, joined_answers
from resight.models.clinical_rows import ClinicalRows
from resight.models.device import Device, Precision, channels_last, choose_device, with_channels_last
from resight.models.engine import Engine, TorchEngine
from resight.models.preparing import Preparer, Row
from resight.models.several import Doubt, several_answers
from resight.models.sources import Source, Unnamed, named_sources
from resight.predictions import Predictions
from resight.types import Image, PreparedImage, Progress, Scores, silent


class Predictor:
    """Applies a bundle to images.

    Args:
        bundle: from `load_bundle`.
        device: `auto` takes CUDA, then MPS, then the CPU.
        precision: number format of the network; `bf16` is faster where the hardware knows it.
        engine: what computes the logits; PyTorch in `precision` when not given.
        engine_notes: why it is this one, one clause each.

    Raises:
        SettingsError: the device is not available.
        BundleError: the sentinels of the bundle are of another version.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: Device = "auto",
        precision: Precision = "fp32",
        engine: Engine | None = None,
        engine_notes: tuple[str, ...] = (),
    ) -> None:
        self.manifest = bundle.manifest
        self.device = choose_device(device)
        self.model = with_channels_last(bundle.model.to(self.device)).eval()
        self.engine: Engine = engine or TorchEngine(self.model, self.device, precision)
        self.engine_notes = engine_notes
        self._bundle = bundle
        self.network = bundle.members[0]
        self._preparer = Preparer(self.manifest)

    def __repr__(self) -> str:
        one = self.manifest
        return f"Predictor({one.name!r}, {one.task}, labels={list(one.labels)}, engine={self.engine.name!r})"

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: Device = "auto",
        precision: WantedPrecision = "fp32",
        engine: EngineName = "torch",
    ) -> Predictor:
        """Read and check a bundle.

        Args:
            folder: of the bundle.
            device: `auto` takes CUDA, then MPS, then the CPU.
            precision: number format; see `choose_engine` for `auto`.
            engine: `torch`, an engine that the bundle was exported to, or `auto` for the fastest one measured here.

        Raises:
            BundleError: it is incomplete, was changed, or has no such export.
            SettingsError: the device is not available, or the engine does not know the precision.
            DependencyError: the engine is not installed.
        """
        bundle = load_bundle(Path(folder))
        choice = choose_engine(Path(folder), bundle, choose_device(device), engine, precision)
        return cls(bundle, device=device, engine=choice.engine, engine_notes=choice.notes)

    def with_engine(self, engine: Engine) -> Predictor:
        """The same predictor with another engine."""
        return Predictor(self._bundle, device=self.device.type, engine=engine)  # type: ignore[arg-type]

    @property
    def operating_points(self) -> tuple[str, ...]:
        """Names of the operating points, the default first."""
        return tuple(dict.fromkeys(point.name for point in self.manifest.operating_points))

    def predict(
        self,
        images: Source | Iterable[Source],
        *,
        table: pd.DataFrame | None = None,
        operating_point: str | None = None,
        budget: float | None = None,
        doubt: Doubt | None = None,
        passes: int = 20,
        novelty: bool = False,
        batch: int = 32,
        workers: int = 2,
        progress: Progress = silent,
    ) -> Predictions:
        """Predict images one batch after the other, so that memory does not grow with their number.

        Args:
            images: files, folders (every image below, a DICOM series being one image; those of a single folder are
                named by their path in it), arrays `(H, W)`, `(C, H, W)` or `(C, D, H, W)` (`uint8`, or floats in
                [0, 1]), `Image`s, or any mixture; of a bundle with several modalities, mappings from their names.
            table: what the clinical columns of the bundle say, and those that groups of sets are made of, found by the
                column `image`: the name of a row, or the file name alone. Nothing is known of images without a row.
            operating_point: decide at this one; the first of the bundle when not given.
            budget: answer with at most this share of the network's FLOPs on average, for bundles with exits or gates:
                adds the columns `exit` (where an image left) and `flops_share` (what it took).
            doubt: answer several times, by the `members` of an ensemble, with `dropout` left on, or in several
                `views`: logits become the mean of the answers, and the column `spread` holds the standard deviation of
                their probabilities.
            passes: how often dropout is drawn.
            novelty: adds the columns `novelty` (share of held-out images that lie nearer to the training images) and
                `feature_1` ... (where an image lies along the directions in which training images differ most).
            batch: images that go through the network together.
            workers: threads that read and prepare images.
            progress: told after every batch; the total is 0 where it is not known.

        Returns:
            One row per image and label, in the order of the input, with `logit, score, probability` (if the bundle is
            calibrated), `decision` (if it has operating points), `alerts` (what the sentinels noticed), `brightness`,
            `contrast` and `sharpness` of the prepared image, and `error`: why an image could not be used; its numbers
            are NaN.

        Raises:
            SettingsError: there is no such operating point, `batch`, `workers` or `passes` is below 1, there is nothing
                for that budget, or the bundle cannot say what is asked.
            CohortError: the table lacks a column, or there is none and the network was not trained to do without.
        """
        clinical = ClinicalRows(self.manifest, table)
        spend = None if budget is None else self.budget_point(budget)
        if batch < 1 or workers < 1 or passes < 1:
            raise SettingsError(f"batch = {batch}, workers = {workers}, passes = {passes}", expected="1 or more")
        if doubt is not None and spend is not None:
            raise SettingsError("a budget and several answers", where="predict", expected="one of them")
        if novelty and self._bundle.novelty is None:
            found, fix = "novelty of a bundle that did not learn it", "Train again with this version."
            raise SettingsError(found, where=self.manifest.name, fix=fix)
        known_images = self._bundle.novelty if novelty else None
        ask = Ask(self._choose_point(operating_point), spend, doubt, passes, known_images)
        if doubt is not None and self.manifest.encoding is not None:
            found = "several answers of a model that reads clinical columns"
            raise SettingsError(found, where=self.manifest.name, fix="Predict without them.")
        volumes = self.manifest.dims > 2
        single = isinstance(images, str | Path | np.ndarray | Image | Mapping)
        sources: Iterable[Source] = [images] if single else images  # type: ignore[list-item, assignment]
        if isinstance(sources, list | tuple):
            everything = list(named_sources(sources, relative=len(sources) == 1, volumes=volumes))
            named, total = iter(everything), len(everything)
        else:
            named, total = named_sources(sources, relative=False, volumes=volumes), 0
        rows: list[Row] = []
        answers: list[ChunkAnswers] = []
        for chunk in self._preparer.chunks(named, clinical, batch=batch, workers=workers, prepare=self.prepare):
            answers.append(self._answers(chunk, ask))
            rows += [replace(row, prepared=None, clinical=None) for row in chunk]
            progress("predict", len(rows), total, rows[-1].name)
        joined = joined_answers(answers, len(self.manifest.labels))
        return answer_table(self.manifest, rows, joined, ask, clinical)

    def budget_point(self, budget: float) -> BudgetPoint:
        """What a budget buys: expected FLOPs, and what it does to AUROC and to the sensitivity of groups.

        Args:
            budget: share of the whole network's FLOPs.

        Raises:
            SettingsError: the bundle is an ensemble or has no exits or gates, there is nothing for that budget, or the
                engine is none that can leave a network.
        """
        budgets = self.manifest.budgets
        if self.manifest.members > 1:
            found = f"budget = {budget:g} for {self.manifest.members} networks that answer together"
            raise SettingsError(found, where=self.manifest.name, fix="Train one network, without folds or members.")
        if budgets is None:
            fix = "Train with [model.exits], or with gate_target in [model.backbone]."
            found = f"budget = {budget:g}, but the bundle has neither exits nor gates that budgets were fitted for"
            raise SettingsError(found, where=self.manifest.name, fix=fix)
        if not isinstance(self.engine, TorchEngine):
            found = f"budget = {budget:g} with the engine {self.engine.name!r}, which runs the whole network"
            raise SettingsError(found, where=self.manifest.name, fix="Use the engine 'torch'.")
        return budgets.choose(budget, where=self.manifest.name)

    @cached_property
    def _adaptive(self) -> AdaptiveRunner:
        engine, budgets = self.engine, self.manifest.budgets
        assert isinstance(engine, TorchEngine)
        assert budgets is not None
        return AdaptiveRunner(self._bundle.members[0], budgets.deciding, self.manifest.task, engine)

    def logits(
        self, prepared: UInt8[np.ndarray, "B C *space"], clinical: Float[np.ndarray, "B T"] | None = None
    ) -> Scores:
        """Logits `(B, L)` of images that the bundle's recipe prepared, and of clinical columns that it encoded.

        Raises:
            SettingsError: clinical columns for an exported engine, whose graph takes images alone.
        """
        if clinical is None:
            return self.engine.logits(prepared)
        if not isinstance(self.engine, TorchEngine):
            found = f"the engine {self.engine.name!r} for a model that reads clinical columns"
            raise SettingsError(found, where="engine", expected="torch")
        return self.engine.logits(prepared, clinical)

    def features(self, prepared: UInt8[np.ndarray, "B C *space"]) -> Float[np.ndarray, "B F"]:
        """What the head of the first member takes, of images that the bundle's recipe prepared."""
        with torch.inference_mode():
            images = channels_last(torch.from_numpy(prepared).to(self.device))
            return self.network.features(images).float().cpu().numpy()

    def _several(self, prepared: UInt8[np.ndarray, "B C *space"], how: Doubt, passes: int) -> tuple[Scores, Scores]:
        """Mean logits of several answers, and the standard deviation of their probabilities."""
        with torch.inference_mode():
            images = channels_last(torch.from_numpy(prepared).to(self.device))
            answers = several_answers(self.model, images, how, passes=passes).double().cpu().numpy()
        calibration = self.manifest.calibration or uncalibrated(self.manifest)
        return answers.mean(axis=0), np.stack([calibration.apply(one) for one in answers]).std(axis=0)

    def prepare(self, source: Unnamed, name: str = "array") -> PreparedImage:
        """What the network sees of one image: `uint8 (C, *space)`.

        Args:
            source: file, DICOM series folder, array or `Image`.
            name: what an array is called in messages.

        Raises:
            ImageError: it cannot be read or used.
        """
        return self._preparer.prepare(source, name)

    def prepared(self, images: Iterable[Source]) -> Iterator[PreparedImage]:
        """What the network sees of each image, one after the other; those that cannot be read are left out."""
        for name, source in named_sources(images, relative=False, volumes=self.manifest.dims > 2):
            try:
                yield self.prepare(source, name)
            except ImageError:
                continue

    def _answers(self, rows: list[Row], ask: Ask) -> ChunkAnswers:
        usable = {index: row.prepared for index, row in enumerate(rows) if row.prepared is not None}
        answers = empty_answers(len(rows), len(self.manifest.labels), 0 if ask.novelty is None else ask.novelty.watched)
        if not usable:
            return answers
        images, where = np.stack(list(usable.values())), list(usable)
        if ask.novelty is not None:
            features = self.features(images)
            answers.novelty[where] = ask.novelty.share_nearer(features)
            answers.coordinates[where] = ask.novelty.coordinates(features)
        if ask.doubt is not None:
            answers.logits[where], answers.spread[where] = self._several(images, ask.doubt, ask.passes)
        elif ask.budget is None:
            table = [row.clinical for row in rows if row.prepared is not None and row.clinical is not None]
            answers.logits[where] = self.logits(images, np.stack(table) if table else None)
        else:
            left = self._adaptive.run(images, ask.budget)
            answers.logits[where], answers.probabilities[where] = left.logits, left.probabilities
            answers.left_at[where], answers.share[where] = left.left_at, left.share
        return answers

    def _choose_point(self, name: str | None) -> str | None:
        known = self.operating_points
        if name is None:
            return known[0] if known else None
        if name not in known:
            raise SettingsError(f"no operating point {name!r}", where=self.manifest.name, fix=nearest(name, known))
        return name
