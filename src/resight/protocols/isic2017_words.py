"""Tables and sentences of the skin study: the challenge's metric, the review's groupings, published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.special import softmax

from resight.evaluation import auroc_with_interval, bootstrap, with_percentiles
from resight.evaluation.discrimination import ranking
from resight.protocols.isic2017_decisions import (
    GROUPINGS,
    KEPT_SPECIFICITY,
    REVIEW_ACCURACY,
    calls,
    decision_rows,
    majority,
)
from resight.protocols.isic2017_networks import Answers
from resight.protocols.study import Certainty, Figure, Row
from resight.types import Cohort, MetricValue

QUESTION: Final = (
    "How well does a ResNet tell melanoma, seborrheic keratosis and nevus apart that learned from the training images "
    "of ISIC-2017 and, where it was there, an ImageNet teacher, without further lesions? What do augmentation, colour "
    "constancy, averaging over views, age and sex, and several models add? And does accuracy say anything where four "
    "of five lesions are no melanoma?"
)
MEAN: Final = "mean of the two AUROCs"
OFFICIAL: Final = (MEAN, "AUROC melanoma vs rest", "AUROC seborrheic keratosis vs rest")
COMPARATORS: Final = {
    "AlexNet": {"name": "alexnet"},
    "VGG-16": {"name": "vgg", "norm": "batch"},
    "DenseNet-121": {"name": "densenet"},
    "Inception-v3": {"name": "inception"},
}
"""Architectures that the review compares a ResNet with."""
SHORT_RUN: Final = "short run of "
"""How lines of short runs begin."""
WIDE: Final = ("Three classes: ", "Two classes instead of three, as in the review: ")
"""How headings begin whose tables have one line a model and one column a metric."""
_REPLICATES: Final = 2000
_CHALLENGE: Final = "Codella et al. 2018, challenge results"
_WITHHELD: Final = "labels withheld"
"""Of the test images: predictions are handed in, and whoever has the labels judges them."""
_PUBLISHED: Final[tuple[tuple[str, tuple[str, str, str], Certainty], ...]] = (
    ("Matsunaga: four ResNet-50, age and sex, external images", (".868", ".953", ".911"), "remembered"),
    ("Gonzalez-Diaz: ResNet-50 with lesion structure", (".856", ".965", ".910"), "remembered"),
    ("RECOD Titans: ResNet-101 and Inception-v4, 9640 images", (".874", ".943", ".908"), "read"),
    ("Bi: ensemble of ResNets", (".870", ".921", ".896"), "remembered"),
    ("Yang: multitask GoogLeNet", (".830", ".942", ".886"), "remembered"),
    ("Zhang et al. 2019: ARL-CNN50, external images", (".875", ".958", ".917"), "read"),
    ("Zhang et al. 2019: plain ResNet-50, external images", (".857", ".948", ".903"), "read"),
)


@dataclass(frozen=True)
class Found:
    """Everything the study measured.

    Attributes:
        cohort: all images.
        answers: every model, in the order of the tables.
        resnet: name of the answers that only ResNets gave, with age and sex.
        final: name of the answers that are handed in.
        ablations: mean AUROC with and without one thing, a line each.
        comparators: name -> answers, for architectures with short runs, ResNets among them.
        short_runs: size and epochs of the short runs, in words; empty where there were none.
    """

    cohort: Cohort
    answers: Sequence[Answers]
    resnet: str
    final: str
    ablations: Sequence[Row]
    comparators: Mapping[str, Answers] = field(default_factory=dict[str, Answers])
    short_runs: str = ""

    def named(self, name: str) -> Answers:
        """Answers of one model."""
        return next(a for a in self.answers if a.name == name)


def official_metric(answers: Answers, cohort: Cohort, split: str, *, seed: int = 0) -> dict[str, MetricValue]:
    """AUROC of melanoma and of seborrheic keratosis against the rest (DeLong), and their mean (bootstrap by image)."""
    rows = (cohort.table["split"] == split).to_numpy()
    targets, scores = cohort.targets()[rows], softmax(answers.logits[rows], axis=1)
    each = [auroc_with_interval(targets[:, k], scores[:, k]) for k in (0, 1)]
    mean = MetricValue(float(np.mean([value.value for value in each])), n=int(rows.sum()))
    if np.isnan(mean.value):
        reason = next(value.undefined_because for value in each if np.isnan(value.value))
        mean = MetricValue.undefined(reason, n=mean.n)
    else:
        statistics = [ranking(targets[:, k], scores[:, k]) for k in (0, 1)]
        drawn = bootstrap(statistics, mean.n, replicates=_REPLICATES, seed=seed)
        mean = with_percentiles(mean, np.mean([part["auroc"] for part in drawn], axis=0), 0.95)
    return dict(zip(OFFICIAL, (mean, *each), strict=True))


def counted(cohort: Cohort, split: str) -> str:
    """How many images a figure rests on, in words."""
    words = {"train": "training images, five folds", "validation": "validation images"}
    return f"{len(cohort.part(split))} {words[split]}"


def tables(found: Found) -> dict[str, list[Row]]:
    """All tables of the page."""
    validation = counted(found.cohort, "validation")
    folds = [a for a in found.answers if a.out_of_fold]
    return {
        f"{WIDE[0]}{validation} (they also chose the epoch of networks trained on the classes)": _metric_rows(
            found, found.answers, "validation"
        ),
        f"{WIDE[0]}{counted(found.cohort, 'train')} (only models whose answers can be out of fold)": _metric_rows(
            found, folds, "train"
        ),
        **decisions(found),
        "One thing changed at a time" + (f" (short runs: {found.short_runs})" if found.short_runs else ""): [
            *found.ablations
        ],
        f"Architectures with equal short runs from scratch ({found.short_runs or 'none'}): {validation}": [
            _comparator(found, name) for name in dict.fromkeys((*found.comparators, *COMPARATORS))
        ],
        "The test images, whose labels are withheld here: published figures": [
            Row(name, metric, None, (Figure(figure, _source(name), certainty),), absent=_WITHHELD)
            for name, figures, certainty in _PUBLISHED
            for metric, figure in zip((*OFFICIAL[1:], MEAN), figures, strict=True)
        ],
    }


def decisions(found: Found) -> dict[str, list[Row]]:
    """Calls in two classes: of what is handed in, and of models whose answers for training images are out of fold."""
    cohort, heading = found.cohort, WIDE[1]
    handed_in = [found.named(name) for name in dict.fromkeys((found.resnet, found.final))]
    by_folds = [answers for answers in found.answers if answers.out_of_fold and "age and sex" in answers.name]
    return {
        heading + counted(cohort, "validation"): decision_rows(handed_in, cohort, "validation"),
        heading + counted(cohort, "train"): decision_rows(by_folds, cohort, "train"),
    }


def _comparator(found: Found, name: str) -> Row:
    if name not in found.comparators:
        return Row(name, MEAN, note="--option comparators")
    answers = found.comparators[name]
    value = official_metric(answers, found.cohort, "validation")[MEAN]
    return Row(name, MEAN, value, note=_note(answers))


def conclude(found: Found) -> tuple[str, ...]:
    """Good and bad news alike."""
    cohort = found.cohort
    best = official_metric(found.named(found.final), cohort, "validation")[MEAN]
    resnet = official_metric(found.named(found.resnet), cohort, "validation")[MEAN]
    grouping = "melanoma vs rest"
    at_half, *_, kept = (called for _, called in calls(found.named(found.resnet), cohort, "validation", grouping))
    never = majority(cohort, "validation", grouping)["accuracy"]
    reached = "above" if kept["accuracy"].low > REVIEW_ACCURACY else "not certainly above"
    learned = cohort.part("train").targets()
    share, nevi = (float((learned[:, classes].sum(axis=1) == 0).mean()) for classes in GROUPINGS.values())
    folds = ""
    if found.named(found.resnet).out_of_fold:
        value = official_metric(found.named(found.resnet), cohort, "train")[MEAN]
        folds = f" ({value} over the folds of the training images)"
    return (
        f"{found.resnet}: mean AUROC {resnet} on the validation images{folds}. Handed in for the test images: "
        f"{found.final}, {best}.",
        f"{share:.1%} of the training lesions are no melanoma, so never saying melanoma is right that often. On the "
        f"validation images that is an accuracy of {never.value:.3f} with a sensitivity of 0. Called at a probability "
        f"of 0.5 the ResNets reach {at_half['accuracy']} with a sensitivity of {at_half['sensitivity']}; at a "
        f"threshold that keeps {KEPT_SPECIFICITY.title} on other images {kept['accuracy']}, {reached} the review's "
        f"77 %, with a sensitivity of {kept['sensitivity']}.",
        f"For nevus against both others the larger class is {nevi:.1%} of the training lesions. Which grouping the "
        f"review's {REVIEW_ACCURACY:.0%} belong to is not printed; they lie "
        f"{'below' if share > REVIEW_ACCURACY else 'above'} the baseline of the first and "
        f"{'below' if nevi > REVIEW_ACCURACY else 'above'} that of the second.",
        *_about_short_runs(found),
        "Few validation images leave wide intervals: differences between lines of that table are mostly chance. The "
        "folds over the training images are the better judge where they exist.",
        "No patient identifiers are published, so images of one patient may be in several folds and splits.",
    )


def _about_short_runs(found: Found) -> list[str]:
    """What changing one thing did, as long as nothing was trained for long."""
    if not found.short_runs:
        return []
    reached = [f"{row.what.removeprefix(SHORT_RUN)} {row.ours}" for row in found.ablations if SHORT_RUN in row.what]
    return [
        f"Short runs ({found.short_runs}) reach on the validation images: {', '.join(reached)}. They show what learns "
        "fast. What augmentation, or one architecture, is worth after a whole training they cannot show."
    ]


def _metric_rows(found: Found, answers: Sequence[Answers], split: str) -> list[Row]:
    return [
        Row(a.name, metric, value, note=_note(a) if metric == MEAN else "")
        for a in answers
        for metric, value in official_metric(a, found.cohort, split).items()
    ]


def _source(name: str) -> str:
    return "TMI 2019" if name.startswith("Zhang") else _CHALLENGE


def _note(answers: Answers) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in answers.details.items())
