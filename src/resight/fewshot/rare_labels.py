"""A finding that was never learned, from a few positives: the protocol for rare labels of a multilabel cohort.

For each label K positives and as many negatives (of other patients) are the support; all images of the remaining
patients are judged. Repeated draws give the interval, as which few images are drawn decides much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from resight.errors import CohortError
from resight.evaluation import auroc
from resight.fewshot.base import FEWSHOT, Features
from resight.fewshot.episodes import one_each, over_draws
from resight.types import MetricValue, Targets


@dataclass(frozen=True)
class RareLabel:
    """One label.

    Attributes:
        label: its name.
        shots: positives, and negatives, of the support.
        auroc: on the images of other patients, mean over draws with its interval.
        positives: images with the label.
    """

    label: str
    shots: int
    auroc: MetricValue
    positives: int


def rare_labels(
    method: str,
    features: Features,
    targets: Targets,
    labels: tuple[str, ...],
    patients: Shaped[np.ndarray, " N"],
    *,
    shots: int,
    draws: int,
    base: Features,
    seed: int = 0,
    **settings: object,
) -> tuple[RareLabel, ...]:
    """Judge a method on every label by itself.

    Args:
        method: registered name.
        features: of the held-out images.
        targets: `(N, L)`; NaN where not known.
        labels: names.
        patients: patient of each image.
        shots: positives, and negatives, shown.
        draws: how often the support is drawn.
        base: features of other images.
        seed: of the draws.
        **settings: the method's own options.

    Raises:
        CohortError: no shot, or fewer than 2 draws.
    """
    if shots < 1 or draws < 2:
        raise CohortError(f"shots = {shots}, draws = {draws}", where="rare labels", expected="at least 1 and 2")
    classifier = FEWSHOT.build(method, settings, base=base)
    found: list[RareLabel] = []
    for column, label in enumerate(labels):
        target = targets[:, column]
        values = np.full(draws, np.nan)
        for number in range(draws):
            rng = np.random.default_rng((seed, column, number))
            support = _support(rng, target, patients, shots)
            if support is None:
                break
            rest = ~np.isin(patients, patients[support]) & ~np.isnan(target)
            if not 0 < target[rest].sum() < rest.sum():
                continue
            scores = classifier.scores(features[support], target[support].astype(int), features[rest], 2)
            values[number] = auroc(target[rest], scores[:, 1] - scores[:, 0]).value
        positive = target > 0
        positives, owners = int(positive.sum()), len(np.unique(patients[positive]))
        value = over_draws(values, "draws")
        if value.undefined_because:
            few = f"{positives} positive images of {owners} patients: too few for {shots} shots and others to judge"
            value = MetricValue.undefined(few, positives)
        found.append(RareLabel(label, shots, value, positives))
    return tuple(found)


def _support(
    rng: np.random.Generator, target: Float[np.ndarray, " N"], patients: Shaped[np.ndarray, " N"], shots: int
) -> Int[np.ndarray, " S"] | None:
    """So many positives and negatives, all of different patients; None where there are not enough."""
    chosen: list[int] = []
    seen: set[object] = set()
    for wanted in (1.0, 0.0):  # the rare ones first: a patient who has both is worth more as a positive
        rows = rng.permutation(np.flatnonzero(target == wanted))
        mine = one_each(rows, patients, seen, shots)
        if len(mine) < shots:
            return None
        seen.update(patients[mine])
        chosen += mine
    return np.array(chosen)
