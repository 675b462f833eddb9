"""Plain against residual networks with growing depth (He et al. 2016, section 4.2), on medical images.

The review says that shortcuts mitigate the vanishing gradient. The paper's claim is another one: with batch
normalisation gradients do not vanish, and yet the training error of a plain network grows with its depth.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from resight.backbones.resnet import DEPTHS
from resight.cohorts import CohortOptions, SplitOptions
from resight.errors import LeakError, SettingsError
from resight.evidence.figures import Axis, Chart, Line, Style
from resight.experiments import ExperimentSettings
from resight.experiments.prepare import Prepared, prepare
from resight.experiments.record import environment
from resight.preprocess import Recipe
from resight.protocols.base import PROTOCOLS, Surroundings
from resight.protocols.charts import standalone, write_charts
from resight.protocols.degradation_memory import MemoryCase, measure_memory
from resight.protocols.degradation_runs import Network, run_network
from resight.protocols.degradation_words import KINDS, QUESTION, Found, conclude, tables
from resight.protocols.study import Study
from resight.settings import Options, write_json
from resight.training import TrainingOptions

_STYLE: dict[str, Style] = {"plain": "second", "residual": "model"}
_LATER: dict[str, Style] = {"plain": "reference", "residual": "third"}
_CHART_PX = (300, 210)


class DegradationOptions(Options):
    """Plain against residual networks at growing depth: training error, gradients, dropped blocks, memory."""

    positive: str | None = Field(default=None, description="the class that counts as positive, for data with many")
    group: tuple[str, ...] = Field(default=("patient_id",), description="columns whose equal values stay in one part")
    depths: tuple[int, ...] = Field(default=(20, 32, 56, 110), min_length=1, description="layers of both kinds")
    seeds: int = Field(default=3, gt=0, description="networks of each kind and depth")
    epochs: int = Field(default=20, gt=0)
    batch_size: int = Field(default=32, gt=0)
    learning_rate: float = Field(default=0.1, gt=0, description="peak; the paper's for these networks")
    size_px: int = Field(default=32, gt=0, description="side of the images")
    width: int = Field(default=16, gt=0, description="channels of the first stage; the paper's are 16")
    dropped_depth: int = Field(default=56, ge=0, description="depth whose blocks are left out one by one; 0: none")
    memory_depths: tuple[int, ...] = Field(default=(56, 110, 164, 1001), description="depths whose memory is measured")
    deepest: int = Field(default=1001, ge=0, description="a residual network this deep is trained as well; 0: none")
    deepest_epochs: int = Field(default=6, gt=0)
    deepest_images: int = Field(default=64, gt=0, description="training images of that network")

    @field_validator("depths", "memory_depths")
    @classmethod
    def _known(cls, depths: tuple[int, ...]) -> tuple[int, ...]:
        if unknown := [d for d in depths if d not in DEPTHS or len(DEPTHS[d][1]) != 3]:
            known = sorted(d for d, (_, stages) in DEPTHS.items() if len(stages) == 3)
            raise ValueError(f"{unknown[0]} is none of the networks of three stages: {known}")
        return depths


@PROTOCOLS.register("degradation", DegradationOptions)
def degradation(options: DegradationOptions, *, surroundings: Surroundings) -> Study:
    """Train both kinds at all depths, look into them, and put the figures together.

    Args:
        options: what to compare.
        surroundings: `data` is a folder or table of images with two classes.

    Raises:
        CohortError: the images or labels cannot be read.
        LeakError: nobody can tell which images are of one patient.
        SettingsError: more than two classes and none named as positive.
    """
    options = _small(options) if surroundings.smoke else options
    settings = experiment(options, surroundings.data)
    try:
        prepared = prepare(settings, surroundings.out / "store", surroundings.progress)
    except LeakError as error:
        fix = '--option group=["COLUMN"] names the column of the patients, group=["none"] splits by image.'
        raise LeakError(error.found, where=error.where, expected=error.expected, fix=fix) from error
    if prepared.cohort.task != "binary":
        fix = f"Name one as positive: --option positive={prepared.cohort.labels[0]}."
        raise SettingsError(f"{len(prepared.cohort.labels)} labels", where=prepared.cohort.name, expected="1", fix=fix)
    runs = [_run(network, options, settings, prepared, surroundings) for network in networks(options)]
    deepest = _deepest(options, settings, prepared, surroundings)
    memory = _memory(options, surroundings)
    found = Found(tuple(runs), deepest, tuple(memory))
    return Study(
        name="degradation",
        title="Degradation: plain against residual networks at growing depth",
        question=QUESTION,
        tables=tables(found),
        conclusions=conclude(found),
        command=environment()["command"],
        pictures=_draw(found, surroundings.out),
        record={
            "images": "; ".join(prepared.cohort.notes),
            "options": options.model_dump(mode="json"),
            "training": settings.training.model_dump(mode="json"),
            "training seconds": round(sum(run["seconds"] for run in [*runs, *filter(None, [deepest])])),
            **environment(),
        },
    )


def networks(options: DegradationOptions) -> list[Network]:
    """All networks of the comparison, shallow ones first."""
    return [
        Network(depth, plain, seed, options.width)
        for seed in range(options.seeds)
        for depth in options.depths
        for plain in (True, False)
    ]


def experiment(options: DegradationOptions, data: Path) -> ExperimentSettings:
    """Recipe, split and training options, the same for every network."""
    return ExperimentSettings(
        name="degradation",
        cohort=CohortOptions(path=data, positive=options.positive),
        split=SplitOptions(group=options.group),
        recipe=Recipe(size_px=(options.size_px, options.size_px)),
        training=TrainingOptions(
            epochs=options.epochs,
            batch_size=options.batch_size,
            optimizer="sgd",
            learning_rate=options.learning_rate,
            weight_decay=1e-4,
            clip_norm=0.0,
            ema_decay=0.0,
            precision="fp32",
        ),
    )


def _run(
    network: Network,
    options: DegradationOptions,
    settings: ExperimentSettings,
    prepared: Prepared,
    surroundings: Surroundings,
) -> dict[str, Any]:
    def progress(stage: str, done: int, total: int, detail: str) -> None:
        surroundings.progress(f"{stage} {network.name}", done, total, detail)

    drop = network.depth == options.dropped_depth and network.seed == 0
    folder = surroundings.out / "runs" / network.name
    return run_network(network, settings, prepared, folder, drop_blocks=drop, progress=progress)


def _deepest(
    options: DegradationOptions, settings: ExperimentSettings, prepared: Prepared, surroundings: Surroundings
) -> dict[str, Any] | None:
    if not options.deepest:
        return None
    network = Network(
        options.deepest, plain=False, seed=0, width=options.width, checkpointed=True, images=options.deepest_images
    )
    training = settings.training.model_copy(update={"epochs": options.deepest_epochs})
    shorter = settings.model_copy(update={"training": training})
    return _run(network, options, shorter, prepared, surroundings)


def _memory(options: DegradationOptions, surroundings: Surroundings) -> list[dict[str, Any]]:
    path = surroundings.out / "memory.json"
    cases = [
        MemoryCase(depth=depth, width=options.width, checkpointed=checkpointed, size_px=options.size_px)
        for depth in options.memory_depths
        for checkpointed in (False, True)
    ]
    known: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for done, case in enumerate(cases):
        asked = case.model_dump()
        if not any(asked.items() <= entry.items() for entry in known):
            known.append(measure_memory(case))
            write_json(path, known)
        surroundings.progress("memory", done + 1, len(cases), f"{case.depth} layers")
    return [entry for case in cases for entry in known if case.model_dump().items() <= entry.items()]


def _small(options: DegradationOptions) -> DegradationOptions:
    """Shallow, narrow, two epochs."""
    few = {"seeds": 1, "epochs": 2, "width": 4, "size_px": 16, "deepest": 164, "deepest_epochs": 1}
    depths = {"depths": (20, 32), "dropped_depth": 20, "memory_depths": (110,), "deepest_images": 32}
    return options.model_copy(update=few | depths)


def _draw(found: Found, folder: Path) -> dict[str, str]:
    pictures = {
        "training.svg": (
            "Training loss over the epochs, one line a seed",
            standalone("Training loss of plain and residual networks", _loss_charts(found)),
        ),
        "gradients.svg": (
            "Gradient of each convolution at the first and the last step of training, from the image (left) to the "
            "head (right), seed 0; decimal logarithm of the norm",
            standalone("Gradient norms of plain and residual networks", _gradient_charts(found)),
        ),
    }
    if found.memory:
        caption = "Peak memory of a training process against depth"
        chart = standalone("Peak memory against depth", [("All depths", _memory_chart(found))], columns=1)
        pictures["memory.svg"] = (caption, chart)
    return write_charts(folder, pictures)


def _loss_charts(found: Found) -> list[tuple[str, Chart]]:
    losses = {id(run): np.array([epoch["loss"] for epoch in run["history"]]) for run in found.runs}
    top = max(float(values.max()) for values in losses.values())
    charts: list[tuple[str, Chart]] = []
    for depth in found.depths:
        lines = tuple(
            Line(kind, np.arange(1.0, len(losses[id(run)]) + 1), losses[id(run)], _STYLE[kind])
            for kind in KINDS
            for run in found.of(kind, depth)
        )
        x = Axis("Epoch", 1, max(2, max(len(line.x) for line in lines)))
        title = f"{depth} layers"
        charts.append((title, Chart(title, x, Axis("Training loss", 0, 1.05 * top), lines, _CHART_PX)))
    return charts


def _gradient_charts(found: Found) -> list[tuple[str, Chart]]:
    charts: list[tuple[str, Chart]] = []
    first = [run for run in found.runs if run["asked"]["network"]["seed"] == 0]
    every = np.concatenate([_logs(entry["norms"]) for run in first for entry in run["gradients"]])
    y = Axis("Gradient norm, log10", float(np.floor(every.min())), float(np.ceil(every.max())))
    for depth in found.depths:
        lines: list[Line] = []
        for kind in KINDS:
            run = found.of(kind, depth)[0]
            for entry, when in ((run["gradients"][0], "first step"), (run["gradients"][-1], "last step")):
                values = _logs(entry["norms"])
                style = _STYLE[kind] if when == "first step" else _LATER[kind]
                lines.append(Line(f"{kind}, {when}", np.arange(1.0, len(values) + 1), values, style))
        x = Axis("Convolution", 1, max(len(line.x) for line in lines))
        charts.append((f"{depth} layers", Chart(f"{depth} layers", x, y, tuple(lines), _CHART_PX)))
    return charts


def _memory_chart(found: Found) -> Chart:
    lines = (
        _memory_line(found, "every activation kept", "second", checkpointed=False),
        _memory_line(found, "checkpointed", "model", checkpointed=True),
    )
    top = max(float(line.y.max()) for line in lines)
    depths = [float(line.x.max()) for line in lines]
    return Chart(
        "Peak memory", Axis("Layers", 0, max(depths)), Axis("Peak memory, GB", 0, 1.05 * top), lines, (520, 260)
    )


def _memory_line(found: Found, name: str, style: Style, *, checkpointed: bool) -> Line:
    entries = [entry for entry in found.memory if entry["checkpointed"] == checkpointed]
    depths, peaks = (np.array([entry[key] for entry in entries], dtype=np.float64) for key in ("depth", "peak_gb"))
    return Line(name, depths, peaks, style, dots=True)


def _logs(norms: list[float]) -> np.ndarray[Any, Any]:
    return np.log10(np.maximum(norms, 1e-12))
