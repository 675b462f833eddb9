"""Two classes instead of three, as in the review: calls at a probability of 0.5 and at thresholds chosen elsewhere.

A threshold is chosen on four fifths of the images and judged on the fifth that took no part, five times over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold

from resight.evaluation import OperatingRule, choose_operating_points, decision_metrics, proportion
from resight.protocols.isic2017_networks import Answers
from resight.protocols.study import Figure, Row
from resight.types import Cohort, MetricValue

GROUPINGS: Final[Mapping[str, tuple[int, ...]]] = {
    "melanoma vs rest": (0,),
    "melanoma or keratosis vs nevus": (0, 1),
}
"""Which of the classes count as positive; the review does not say."""
KEPT_SPECIFICITY: Final = OperatingRule(kind="specificity", value=0.9, name="a specificity of 0.9")
_CHOSEN: Final = (OperatingRule(name="the largest sum of both rates"), KEPT_SPECIFICITY)
_HALF: Final = 0.5
_FOLDS: Final = 5
_METRICS: Final = ("accuracy", "sensitivity", "specificity")
REVIEW_ACCURACY: Final = 0.77
_PUBLISHED: Final = Figure("77 %", "Rokad & Nagarajan 2019, a small network of its own", "read")
_REVIEW: Final = Figure("77 %", "review, of Rokad & Nagarajan 2019", "review only")


def calls(answers: Answers, cohort: Cohort, split: str, grouping: str) -> Iterator[tuple[str, dict[str, MetricValue]]]:
    """How every threshold was found, and accuracy, sensitivity and specificity of the calls it makes.

    Args:
        answers: of one model.
        cohort: all images.
        split: whose images are called.
        grouping: one of `GROUPINGS`.
    """
    targets, probabilities = _two_classes(answers, cohort, split, grouping)
    yield f"called at a probability of {_HALF}", decision_metrics(targets, probabilities >= _HALF)
    for rule in _CHOSEN:
        found = decision_metrics(targets, cross_fitted(targets, probabilities, rule))
        yield f"threshold with {rule.title} on the other four fifths", found


def cross_fitted(
    targets: Float[np.ndarray, " N"], probabilities: Float[np.ndarray, " N"], rule: OperatingRule, *, seed: int = 0
) -> Bool[np.ndarray, " N"]:
    """Calls whose threshold was chosen without the image called.

    Args:
        targets: 0 or 1.
        probabilities: of 1.
        rule: how a threshold is chosen.
        seed: of the folds.
    """
    called = np.zeros(len(targets), dtype=bool)
    splitter = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    for others, held in splitter.split(probabilities, targets):
        known = np.ones((len(others), 1), dtype=bool)
        (point,) = choose_operating_points(
            probabilities[others, None], targets[others, None], known, ("positive",), (rule,)
        )
        called[held] = probabilities[held] >= point.threshold
    return called


def decision_rows(models: list[Answers], cohort: Cohort, split: str) -> list[Row]:
    """What others report, the calls that look at no image, and those of every model, for both groupings.

    Args:
        models: which have answers for the split.
        cohort: all images.
        split: whose images are called.
    """
    unstated = "{0.source}; grouping not stated".format
    rows = [
        Row(
            unstated(_PUBLISHED),
            "accuracy",
            published=(_PUBLISHED,),
            absent=f"{_PUBLISHED.text} ({_PUBLISHED.certainty})",
        ),
        Row(unstated(_REVIEW), "accuracy", review=_REVIEW, absent=f"{_REVIEW.text} ({_REVIEW.certainty})"),
    ]
    for grouping in GROUPINGS:
        baseline = majority(cohort, split, grouping)
        rows += [Row(f"{grouping}: the larger class, no image looked at", m, baseline[m]) for m in _METRICS]
        for model in models:
            for how, found in calls(model, cohort, split, grouping):
                rows += [Row(f"{grouping}: {model.name}, {how}", metric, found[metric]) for metric in _METRICS]
    return rows


def majority(cohort: Cohort, split: str, grouping: str) -> dict[str, MetricValue]:
    """What always answering with the larger class reaches."""
    targets = cohort.part(split).targets()[:, GROUPINGS[grouping]].sum(axis=1)
    positive = float(targets.mean() > _HALF)
    return {
        "accuracy": proportion(targets == positive),
        "sensitivity": MetricValue(positive),
        "specificity": MetricValue(1 - positive),
    }


def _two_classes(
    answers: Answers, cohort: Cohort, split: str, grouping: str
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    rows = (cohort.table["split"] == split).to_numpy()
    positive = GROUPINGS[grouping]
    probabilities = softmax(answers.logits[rows], axis=1)
    return cohort.targets()[rows][:, positive].sum(axis=1), probabilities[:, positive].sum(axis=1)
