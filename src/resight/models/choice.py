"""Which engine answers: the one asked for, or the fastest that gives the network's answers on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch

from resight.errors import BundleError, DependencyError, SettingsError, nearest
from resight.models.bundle import Bundle
from resight.models.engine import ENGINES, Engine, EnginePrecision, TorchEngine
from resight.models.exported import ENGINES_FOLDER, ExportRecord, input_shape, list_exports, read_export
from resight.models.graph import probe_images
from resight.models.trial import surroundings, try_apart

EngineName = Literal["auto", "torch", "onnx", "openvino"]
WantedPrecision = Literal["auto", "fp32", "bf16", "int8"]

AUROC_LOSS_LIMITS: Final[dict[EnginePrecision, float]] = {"fp32": 0.001, "bf16": 0.001, "int8": 0.005}
"""What an export may have lost on images with a reference standard to be chosen without being named."""
_WORTHWHILE: Final = 1.1
"""An export must be this much faster than PyTorch, which needs nothing beside the bundle."""
_ROUNDS: Final = 5
_PATIENCE_S: Final = 1.5
"""Rounds of trials stop here, so that choosing takes no longer than it can save."""


@dataclass(frozen=True)
class Choice:
    """The engine, and why it is this one.

    Attributes:
        engine: answers from now on.
        notes: what was measured and what was passed over, one clause each.
    """

    engine: Engine
    notes: tuple[str, ...] = ()


def choose_engine(
    folder: Path, bundle: Bundle, device: torch.device, name: EngineName = "auto", precision: WantedPrecision = "fp32"
) -> Choice:
    """The engine asked for, or the fastest allowed one.

    Speed is measured here, on the batch sizes 1 and 8, never taken from the processor's flags. An exported engine must
    answer as the network does on artificial images, within the limit that was set when it was exported.

    Args:
        folder: of the bundle.
        bundle: read from there.
        device: exported engines run on the CPU; elsewhere `auto` is PyTorch.
        name: an engine, or `auto`.
        precision: the number format. With the engine `auto`, the coarsest that may be taken; `auto` takes fp32 and
            those exports whose AUROC was measured and fell by no more than `AUROC_LOSS_LIMITS`.

    Raises:
        SettingsError: there is no such engine, or not in this precision or on this device.
        BundleError: it was not exported, was changed, or does not answer as the network does.
        DependencyError: it is not installed.
    """
    if name == "torch":
        return Choice(_torch(bundle, device, precision))
    if name == "auto":
        return _fastest(folder, bundle, device, precision)
    if name not in ENGINES.names():
        raise SettingsError(f"unknown engine {name!r}", fix=nearest(name, ("auto", "torch", *ENGINES.names())))
    if device.type != "cpu":
        fix = "Give device=cpu, or engine=torch."
        raise SettingsError(f"the engine {name!r} on {device.type!r}", where="engine", expected="cpu", fix=fix)
    wanted = "fp32" if precision == "auto" else precision
    reference = TorchEngine(bundle.model, device)
    return Choice(_opened(folder, bundle, f"{name}-{wanted}", reference)[0])


def parity(engine: Engine, reference: Engine, shape: tuple[int, ...]) -> tuple[float, float]:
    """Largest difference between two engines' logits on artificial images, and the largest logit."""
    images = probe_images(shape)
    expected = reference.logits(images)
    return float(np.abs(engine.logits(images) - expected).max()), float(np.abs(expected).max())


def _torch(bundle: Bundle, device: torch.device, precision: WantedPrecision) -> TorchEngine:
    if precision == "int8":
        found, fix = "the engine 'torch' in int8", "Export an int8 engine, or take fp32 or bf16."
        raise SettingsError(found, where="engine", expected="fp32 or bf16", fix=fix)
    return TorchEngine(bundle.model, device, "bf16" if precision == "bf16" else "fp32")


def _fastest(folder: Path, bundle: Bundle, device: torch.device, precision: WantedPrecision) -> Choice:
    usual = TorchEngine(bundle.model, device)
    exports = list_exports(folder)
    if device.type != "cpu":
        return Choice(_torch(bundle, device, "fp32" if precision in ("auto", "int8") else precision))
    candidates: list[Engine] = [usual]
    if precision in ("bf16", "int8"):
        candidates.append(TorchEngine(bundle.model, device, "bf16"))
    notes: list[str] = []
    for name in exports:
        try:
            engine, record = _opened(folder, bundle, name, usual)
        except (BundleError, DependencyError, SettingsError) as error:
            notes.append(f"{name} is passed over: {error.found}")
            continue
        if reason := _not_allowed(record, precision):
            notes.append(f"{name} is passed over: {reason}")
        else:
            candidates.append(engine)
    if len(candidates) == 1:
        return Choice(usual, (*notes, "PyTorch answers") if notes else ())
    seconds = _seconds_an_image(candidates, input_shape(bundle.manifest))
    gains = [seconds[0] / each for each in seconds]
    best = int(np.argmax(gains))
    best = best if gains[best] > _WORTHWHILE else 0
    measured = ", ".join(f"{_title(e)} {g:.2f}" for e, g in zip(candidates[1:], gains[1:], strict=True))
    return Choice(
        candidates[best], (*notes, f"{_title(candidates[best])} answers; speed against torch fp32: {measured}")
    )


def _opened(folder: Path, bundle: Bundle, name: str, reference: TorchEngine) -> tuple[Engine, ExportRecord]:
    """An export that is unchanged, opens here and answers as the network does."""
    if name not in list_exports(folder):
        kind, _, precision = name.partition("-")
        fix = f"Make one: resight export {folder} --to {kind} --precision {precision}"
        raise BundleError(f"has no export {name!r}", where=str(folder), fix=fix)
    record = read_export(folder, name, bundle.manifest)
    place, shape = folder / ENGINES_FOLDER / name, input_shape(bundle.manifest)
    if record.tried_on != surroundings(record.engine):
        try_apart(place, record.engine, record.precision, shape)
    engine: Engine = ENGINES.build(record.engine, folder=place, precision=record.precision)
    difference, _ = parity(engine, reference, shape)
    if not difference <= record.parity.limit:
        found = f"its logits differ by {difference:.3g} from the network's on this machine"
        expected = f"at most {record.parity.limit:.3g}"
        raise BundleError(found, where=str(place), expected=expected, fix="Use --engine torch.")
    return engine, record


def _not_allowed(record: ExportRecord, precision: WantedPrecision) -> str:
    order: list[str] = ["fp32", "bf16", "int8"]
    if precision != "auto":
        return "" if order.index(record.precision) <= order.index(precision) else f"{record.precision} was not allowed"
    loss = record.auroc_loss()
    if record.precision == "fp32":
        return ""
    if loss is None:
        return "its AUROC was not measured"
    limit = AUROC_LOSS_LIMITS[record.precision]
    return "" if loss <= limit else f"its AUROC fell by {loss:.4f}, more than {limit:g}"


def _seconds_an_image(engines: Sequence[Engine], shape: tuple[int, ...]) -> list[float]:
    """Shortest time of each, as other programs can only slow an engine down; batches of 1 and 8 count alike."""
    best = np.full((len(engines), 2), np.inf)
    batches = [probe_images(shape, count) for count in (1, 8)]
    for engine in engines:
        for batch in batches:
            engine.logits(batch)  # the first call prepares memory and kernels
    begin = time.perf_counter()
    for _ in range(_ROUNDS):
        for column, batch in enumerate(batches):
            for row, engine in enumerate(engines):
                start = time.perf_counter()
                engine.logits(batch)
                best[row, column] = min(best[row, column], (time.perf_counter() - start) / len(batch))
        if time.perf_counter() - begin > _PATIENCE_S:
            break
    return np.exp(np.log(best).mean(axis=1)).tolist()


def _title(engine: Engine) -> str:
    return f"{engine.name} {engine.precision}"
