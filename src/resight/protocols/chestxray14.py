"""ChestX-ray14 (Wang et al. 2017): residual networks and their rivals on the official split and on resamplings.

The official lists are the harder test; five patient-wise resamplings (70/10/20) are the protocol of Baltruschat et al.
2019. Figures of the two are never put into one table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from resight.cohorts import CohortOptions, SplitOptions, split_cohort
from resight.evaluation import Comparison, Evaluation, EvaluationOptions, compare
from resight.experiments import ExperimentSettings, Run, smoke, train_experiment
from resight.experiments.record import environment
from resight.experiments.settings import ReportOptions, StoreOptions
from resight.models import ModelOptions
from resight.models.bundle import load_bundle
from resight.preprocess import Augmentation, Recipe
from resight.protocols.base import PROTOCOLS, Surroundings
from resight.protocols.chestxray14_boxes import BoxScores, score_boxes
from resight.protocols.chestxray14_data import ImagesWanted, find_boxes, load_images, load_tables
from resight.protocols.chestxray14_labels import COLUMN_SETS, fuse_metadata, judge_labels
from resight.protocols.chestxray14_networks import check_networks, first_weights, network_of, side_px, title
from resight.protocols.chestxray14_probes import NO_IMAGE, ProbeResult, in_order_of, judge_probe, probe_features
from resight.protocols.chestxray14_tables import WIDE, Found, tables
from resight.protocols.chestxray14_words import QUESTION, conclude
from resight.protocols.study import Study
from resight.settings import Options
from resight.training import TrainingOptions
from resight.types import Cohort, MetricValue

METADATA = ("age", "sex", "view")
_SMOKE_IMAGES = 60
"""Of each part of the official split."""


class ChestXray14Options(Options):
    """ChestX-ray14: fourteen findings, official split and resamplings, localisation, and what the label table knows."""

    tables: Path | None = Field(
        default=None, description="folder of label table, lists and boxes where they do not lie beside the images"
    )
    images: ImagesWanted = Field(
        default="all", description="insist on all 112,120 images, take those present, or study the label table alone"
    )
    models: tuple[str, ...] = Field(
        default=("resnet-50", "resnet-101", "resnet-152", "densenet-121"),
        description="trained backbones with depth, also resnet-18, resnet-34, vgg-16, alexnet, inception; a ResNet "
        "with -ct begins with CT weights (extra ct152)",
    )
    probes: tuple[str, ...] = Field(
        default=(),
        description="frozen networks with a logistic regression a label: resnet-50-ct, -101-ct, -152-ct (extra ct152), "
        "lite0 (extra lite0), or a backbone with random weights",
    )
    probe_px: int = Field(default=224, gt=0, description="side of the images of frozen networks")
    weights: dict[str, Path] = Field(default_factory=dict, description="model -> local file it starts from")
    splits: tuple[Literal["official", "resampled"], ...] = Field(default=("official", "resampled"), min_length=1)
    trained_splits: tuple[Literal["official", "resampled"], ...] = Field(
        default=("official", "resampled"), description="those of them that networks are trained on"
    )
    resamplings: int = Field(default=5, gt=0, description="patient-wise random splits, 70/10/20")
    metadata: bool = Field(default=True, description="also fuse the image's score with age, sex and view")
    explainer: str = Field(default="gradcam", description="judged against the boxes; empty for none")
    size_px: int = Field(default=224, gt=0, description="side of the images; a network that needs more gets that")
    epochs: int = Field(default=20, gt=0)
    batch_size: int = Field(default=32, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 measures")
    bootstrap: int = Field(default=1000, ge=0, description="replicates by patient")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class _Split:
    """One division of the images."""

    name: str
    cohort: Cohort

    @property
    def kind(self) -> Literal["official", "resampled"]:
        """Which of the two tests it belongs to."""
        return "official" if self.name == "official" else "resampled"


@PROTOCOLS.register("chestxray14", ChestXray14Options)
def chestxray14(options: ChestXray14Options, *, surroundings: Surroundings) -> Study:
    """Study the label table, train every model on every split, and judge the evidence maps.

    Args:
        options: what to run.
        surroundings: `data` holds the images and, unless `options.tables` is given, the tables.

    Raises:
        CohortError: files are missing; which, what they belong to, and how to go on without.
        BundleError: a file of weights cannot be read, or holds more than tensors.
        SettingsError: an unknown model, or weights of another one.
    """
    options = _small(options) if surroundings.smoke else options
    check_networks(options.models, options.probes, options.weights)
    folder = options.tables or surroundings.data
    whole = load_tables(folder, needs_lists="official" in options.splits)
    by_labels: dict[str, Evaluation] = {}
    if "official" in options.splits:
        for done, (name, columns) in enumerate(COLUMN_SETS.items()):
            surroundings.progress("label table", done, len(COLUMN_SETS), name)
            by_labels[name] = judge_labels(whole, columns, bootstrap=options.bootstrap)
    cohort = load_images(surroundings.data, folder, options.images)
    if cohort is not None and surroundings.smoke:
        cohort = _few(cohort)
    splits = [] if cohort is None else _splits(cohort, options, surroundings.out)
    runs = {
        (model, split.name): _train(model, split, options, surroundings)
        for split in splits
        if split.kind in options.trained_splits
        for model in options.models
    }
    boxes = find_boxes(folder)
    probed = _probe(cohort, splits, options, surroundings) if cohort is not None else {}
    found = Found(
        whole=whole,
        by_labels=by_labels,
        official={model: run for (model, name), run in runs.items() if name == "official"},
        resampled={
            model: [run for (other, name), run in runs.items() if other == model and name != "official"]
            for model in options.models
        },
        fused=_fuse(runs, options),
        probed=probed,
        comparisons=_compare(runs, options),
        boxes={
            model: _judge_maps(run, boxes, options)
            for (model, name), run in runs.items()
            if name == "official" and options.explainer and boxes is not None
        },
    )
    page = tables(found)
    return Study(
        name="chestxray14",
        title="ChestX-ray14: residual networks and their rivals",
        question=QUESTION,
        tables=page,
        conclusions=conclude(found),
        wide=tuple(heading for heading in page if heading.endswith(WIDE)),
        command=environment()["command"],
        record={
            "label table": "; ".join(whole.notes),
            "images": "; ".join(cohort.notes) if cohort else "none",
            "options": options.model_dump(mode="json"),
            "training seconds": round(sum(map(_training_seconds, runs.values()))),
            **environment(),
        },
    )


def experiment(model: str, split: _Split, options: ChestXray14Options, out: Path) -> ExperimentSettings:
    """The experiment of one model on one split; augmentation as Baltruschat et al. 2019 describe it."""
    name, backbone = network_of(model)
    side = side_px(model, options.size_px)
    return ExperimentSettings(
        name=f"ChestX-ray14, {model}, {split.name}",
        intended_use="To repeat a study. Not for patients.",
        cohort=CohortOptions(
            path=out / "cohorts" / f"{split.name}.csv",
            images=split.cohort.root,
            labels=split.cohort.labels,
            name="chestxray14",
        ),
        split=SplitOptions(column="split"),
        recipe=Recipe(size_px=(side, side)),
        augmentation=Augmentation(flip=0.5, rotate_deg=7, scale=0.1, translate=0.03),
        model=ModelOptions(backbone={"name": name, **backbone}, weights=first_weights(model, options.weights, out)),
        training=TrainingOptions(
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            precision=options.precision,
            threads=options.threads,
            seed=options.seed,
        ),
        evaluation=EvaluationOptions(bootstrap=options.bootstrap, metadata=METADATA),
        store=StoreOptions(folder=out / f"store-{side}px", max_gb=64),
        report=ReportOptions(examples=8),
    )


def _splits(cohort: Cohort, options: ChestXray14Options, out: Path) -> list[_Split]:
    """The official split and the resamplings, each written as a cohort table."""
    splits = [_Split("official", cohort)] if "official" in options.splits else []
    if "resampled" in options.splits:
        bare = replace(cohort, table=cohort.table.drop(columns="split", errors="ignore"))
        splits += [
            _Split(f"resampled-{seed}", split_cohort(bare, SplitOptions(seed=seed)))
            for seed in range(options.resamplings)
        ]
    folder = out / "cohorts"
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        split.cohort.table.to_csv(folder / f"{split.name}.csv", index=False, lineterminator="\n")
    return splits


def _few(cohort: Cohort) -> Cohort:
    table = cohort.table
    parts = table["split"] if "split" in table else table["sex"]
    return replace(cohort, table=table.groupby(parts).head(_SMOKE_IMAGES).reset_index(drop=True))


def _train(model: str, split: _Split, options: ChestXray14Options, surroundings: Surroundings) -> Run:
    settings = experiment(model, split, options, surroundings.out)
    if surroundings.smoke:
        settings = smoke(settings)

    def progress(stage: str, done: int, total: int, detail: str) -> None:
        surroundings.progress(f"{stage} {model} {split.name}", done, total, detail)

    return train_experiment(
        settings, surroundings.out / "runs" / f"{model}-{split.name}", resume=True, progress=progress
    )


def _probe(
    cohort: Cohort, splits: list[_Split], options: ChestXray14Options, surroundings: Surroundings
) -> dict[str, dict[str, ProbeResult]]:
    """Frozen network -> split -> result; first what is known without images."""
    if not options.probes:
        return {}
    found = {NO_IMAGE: {s.name: judge_probe(None, s.cohort, bootstrap=options.bootstrap) for s in splits}}
    for done, probe in enumerate(options.probes):
        surroundings.progress("probes", done, len(options.probes), probe)
        features = probe_features(probe, cohort, surroundings.out, options.probe_px, surroundings.progress)
        found[title(probe)] = {
            s.name: judge_probe(in_order_of(s.cohort, cohort, features), s.cohort, bootstrap=options.bootstrap)
            for s in splits
        }
    return found


def _fuse(runs: dict[tuple[str, str], Run], options: ChestXray14Options) -> dict[str, tuple[MetricValue, int]]:
    if not options.metadata:
        return {}
    return {
        model: fuse_metadata(run.judged.predictions, bootstrap=options.bootstrap)
        for (model, name), run in runs.items()
        if name == "official"
    }


def _compare(runs: dict[tuple[str, str], Run], options: ChestXray14Options) -> dict[tuple[str, str], Comparison]:
    """The first model against each other one on the official test images."""
    if not options.models or (options.models[0], "official") not in runs:
        return {}
    first, *others = options.models
    reference = runs[first, "official"].judged.predictions
    asked = EvaluationOptions(bootstrap=options.bootstrap)
    return {(first, other): compare(reference, runs[other, "official"].judged.predictions, asked) for other in others}


def _judge_maps(run: Run, boxes: pd.DataFrame, options: ChestXray14Options) -> dict[str, BoxScores]:
    (classifier,) = load_bundle(run.folder / "bundle").members
    return score_boxes(classifier, run.prepared, boxes, options.explainer)


def _training_seconds(run: Run) -> float:
    record = json.loads((run.folder / "record.json").read_text(encoding="utf-8"))
    return sum(fit["seconds"] for fit in record["training"])


def _small(options: ChestXray14Options) -> ChestXray14Options:
    few = {"models": options.models[:1], "probes": options.probes[:1], "resamplings": 1, "size_px": 64}
    few |= {"probe_px": 64, "bootstrap": 50}
    return options.model_copy(update=few)
