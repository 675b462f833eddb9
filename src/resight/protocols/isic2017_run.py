"""The models of the skin study: which there are, how each is trained, and which answer together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resight.backbones.ct_resnet import begin_with_ct, ct_resnet152_weights, has_ct_resnet152
from resight.backbones.efficientnet_lite import has_lite0
from resight.cohorts import ISIC_LABELS
from resight.models import Classifier
from resight.preprocess import Augmentation
from resight.protocols.base import Surroundings
from resight.protocols.isic2017_networks import (
    AUGMENTATION,
    Answers,
    SkinImages,
    build_network,
    ensemble,
    features_of,
    fine_tuned,
    freeze_first_blocks,
)
from resight.protocols.isic2017_options import ISIC2017Options
from resight.protocols.isic2017_probe import clinical_evidence, fused, fusion_weight, linear_probe
from resight.protocols.isic2017_words import COMPARATORS, MEAN, SHORT_RUN, Found, counted, official_metric
from resight.protocols.study import Row
from resight.training import TrainingOptions
from resight.training.hints import LITE0, build_teacher
from resight.training.options import ObjectiveOptions
from resight.training.validate import Features
from resight.types import Cohort, Scores

_LITE0_PROBE = "linear probe on EfficientNet-Lite0"
_CT_DEPTHS = (50, 101, 152)
_CT_STAGE = 2
"""The last stage of the CT network knows organs, the third still sees textures: chosen out of fold on training images.
"""
_AUGMENTED = " with augmentation"


class SkinRun:
    """Every model of the study, trained or read from what is kept of it.

    Attributes:
        remarks: sentences about what was left out.
    """

    def __init__(self, options: ISIC2017Options, surroundings: Surroundings, cohort: Cohort) -> None:
        self.options, self.cohort, self.out = options, cohort, surroundings.out
        self.images = SkinImages(cohort, surroundings.out / "images", surroundings.progress)
        self.remarks: list[str] = []
        self.taught, self.ct = options.teacher and has_lite0(), None
        if not self.taught:
            self.remarks.append(_left_out("No ImageNet teacher took part", "lite0", options.teacher))
        if options.ct and has_ct_resnet152():
            self.ct = ct_resnet152_weights(surroundings.out / "weights")
        else:
            self.remarks.append(_left_out("No ResNet began with weights", "ct152", options.ct))

    def everything(self) -> Found:
        """Train or read all of them, and put together those that answer together."""
        o = self.options
        evidence = clinical_evidence(self.cohort, seed=o.seed)
        probes = [self._probe(_LITE0_PROBE, self._teacher_features())] if self.taught else []
        begun = [self._ct_probe(depth) for depth in o.depths if self._begins(depth)]
        fresh: list[Answers] = []
        for depth in o.depths:
            members = begun if self._begins(depth) else fresh
            members += [self._resnet(depth, seed) for seed in range(o.seed, o.seed + o.seeds)]
        resnets = begun or fresh  # what learned from nothing but these lesions would only water the others down
        others = [self._trained_teacher()] if self.taught and o.teacher_epochs else []
        weight = self._weight([*probes, *resnets], evidence)
        only = ensemble("ResNets together", resnets)
        combined = [only, fused("ResNets together, age and sex", only, evidence, weight)]
        if probes:
            every = ensemble("all models together", [*probes, *resnets, *others])
            combined += [every, fused("all models together, age and sex", every, evidence, weight)]
        told = [fused(f"{p.name}, age and sex", p, evidence, weight) for p in (*probes, *begun) if p.out_of_fold]
        age_sex = Answers("age and sex alone", evidence, out_of_fold=True)
        answers = [age_sex, *probes, *begun, *fresh, *others, *told, *combined]
        short_runs = list(self._short_runs())
        comparators = {a.name.removesuffix(_AUGMENTED): a for a in short_runs if a.name.endswith(_AUGMENTED)}
        comparators |= {name: self._short(name, COMPARATORS[name]) for name in o.comparators}
        ablations = self._ablations(short_runs, answers)
        short = (
            f"{o.ablation_px} pixels or the least a network takes, {o.ablation_epochs} epochs"
            if o.ablation_epochs
            else ""
        )
        return Found(self.cohort, answers, combined[1].name, combined[-1].name, ablations, comparators, short)

    def _on_classes(self, epochs: int, rate: float, seed: int, *, hints: bool = False) -> TrainingOptions:
        o = self.options
        objective = ObjectiveOptions(name="hints", options={"weight": o.hints}) if hints else ObjectiveOptions()
        return TrainingOptions(
            epochs=epochs,
            learning_rate=rate,
            seed=seed,
            batch_size=o.batch_size,
            threads=o.threads,
            precision=o.precision,
            label_smoothing=0.05,
            imbalance="positive_weight",
            objective=objective,
        )

    def _teacher_features(self) -> Features:
        o = self.options
        path = self.out / "features" / "lite0.npy"
        return features_of(self._teacher(), self.images, o.teacher_px, n_views=o.probe_views, path=path)

    def _teacher(self) -> Classifier:
        return build_teacher(LITE0, channels=3, labels=ISIC_LABELS)

    def _probe(self, name: str, features: Features) -> Answers:
        o = self.options
        return linear_probe(name, features, self.cohort, inverse_penalty=o.probe_penalty, seed=o.seed)

    def _ct_probe(self, depth: int) -> Answers:
        """A linear probe on the third stage of a ResNet that was never trained on lesions."""
        o = self.options
        features = features_of(
            self._begun(depth, o.seed),
            self.images,
            o.size_px,
            n_views=o.probe_views,
            path=self.out / "features" / f"ct{depth}.npy",
            stage=_CT_STAGE,
            adapted=True,
        )
        return self._probe(f"linear probe on ResNet-{depth}, CT weights", features)

    def _resnet(self, depth: int, seed: int) -> Answers:
        o = self.options
        hints = self.taught and o.hints > 0
        begun = self._begins(depth)
        if begun:
            model, size_px, epochs, rate = self._begun(depth, seed), o.size_px, o.tuning_epochs, o.tuning_rate
        else:
            model = build_network({"name": "resnet", "depth": depth}, seed)
            size_px, epochs, rate = o.scratch_px, o.epochs, o.learning_rate
        name = f"ResNet-{depth}" + (f", seed {seed}" if o.seeds > 1 else "")
        name += " from CT weights" if begun else " from scratch"
        training = self._on_classes(epochs, rate, seed, hints=hints)
        folder = self.out / "runs" / f"resnet{depth}-{seed}"
        return self._fine_tuned(name + (", with hints" if hints else ""), model, training, size_px, folder)

    def _begins(self, depth: int) -> bool:
        """Whether a ResNet of this depth begins with CT weights."""
        return self.ct is not None and depth in _CT_DEPTHS

    def _begun(self, depth: int, seed: int) -> Classifier:
        """A ResNet that begins with CT weights."""
        assert self.ct is not None
        model = build_network({"name": "resnet", "depth": depth}, seed)
        begin_with_ct(model.backbone, self.ct, frozen_stages=self.options.frozen_stages)
        return model

    def _trained_teacher(self) -> Answers:
        o = self.options
        model = self._teacher()
        freeze_first_blocks(model)
        training = self._on_classes(o.teacher_epochs, 4e-4, o.seed)
        folder = self.out / "runs" / "lite0"
        return self._fine_tuned("EfficientNet-Lite0, trained", model, training, o.teacher_training_px, folder)

    def _fine_tuned(
        self,
        name: str,
        model: Classifier,
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

    def _short(
        self,
        name: str,
        backbone: dict[str, Any],
        augmentation: Augmentation | None = AUGMENTATION,
        *,
        begun: bool = False,
        hints: bool = False,
    ) -> Answers:
        o = self.options
        model = self._begun(backbone["depth"], o.seed) if begun else build_network(backbone, o.seed)
        size_px = max(o.ablation_px, model.backbone.min_size_px)
        folder = self.out / "runs" / ("short-" + name.lower().replace(" ", "-").replace(",", ""))
        rate = o.tuning_rate if begun else o.learning_rate
        training = self._on_classes(o.ablation_epochs, rate, o.seed, hints=hints)
        return self._fine_tuned(name, model, training, size_px, folder, augmentation)

    def _weight(self, models: list[Answers], evidence: Scores) -> float:
        """The weight of age and sex, from answers out of fold; 1, as Bayes' rule has it, where there are none."""
        folds = [model for model in models if model.out_of_fold]
        return fusion_weight(ensemble("out of fold", folds), evidence, self.cohort) if folds else 1.0

    def _ablations(self, short_runs: list[Answers], answers: list[Answers]) -> list[Row]:
        rows = [self._row(f"{SHORT_RUN}{short.name}", short, "validation") for short in short_runs]
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

    def _short_runs(self) -> Iterator[Answers]:
        if not self.options.ablation_epochs:
            return
        small, large = ({"name": "resnet", "depth": depth} for depth in (18, 50))
        yield self._short("ResNet-18 without augmentation", small, None)
        yield self._short("ResNet-18" + _AUGMENTED, small)
        if self.taught and self.options.hints:
            yield self._short("ResNet-18 with augmentation and hints", small, hints=True)
        if self.ct:
            yield self._short("ResNet-50" + _AUGMENTED, large)
            yield self._short("ResNet-50 with augmentation, from CT weights", large, begun=True)

    def _coloured_probe(self, name: str, colour: str) -> Answers:
        o, path = self.options, self.out / "features" / f"lite0-{colour}.npy"
        features = features_of(self._teacher(), self.images, o.size_px, n_views=1, path=path, colour=colour)
        return self._probe(name, features)

    def _row(self, what: str, answers: Answers, split: str) -> Row:
        return Row(what, f"{MEAN}, {counted(self.cohort, split)}", official_metric(answers, self.cohort, split)[MEAN])


def _left_out(what: str, extra: str, asked: bool) -> str:
    return f"{what} ({f'the extra `{extra}` is not installed' if asked else 'it was switched off'})."
