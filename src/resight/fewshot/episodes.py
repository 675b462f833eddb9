"""Episodes: N classes, K labelled images of each, and other patients' images to judge.

Protocol of Vinyals et al., NeurIPS 2016, with two changes that medicine asks for: no patient is in support and query of
one episode, and the patients drawn are those of a held-out part alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped
from pydantic import Field

from resight.errors import CohortError
from resight.evaluation import auroc
from resight.fewshot.base import FEWSHOT, Features
from resight.settings import Options
from resight.types import MetricValue


class EpisodeOptions(Options):
    """How episodes are drawn."""

    ways: int = Field(default=2, ge=2, description="classes of an episode")
    shots: int = Field(default=5, ge=1, description="labelled images of each class")
    queries: int = Field(default=15, ge=1, description="images of each class to judge")
    episodes: int = Field(default=600, ge=2, le=100_000)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Episode:
    """Rows of one episode and the class of each, from 0."""

    support: Int[np.ndarray, " S"]
    support_classes: Int[np.ndarray, " S"]
    query: Int[np.ndarray, " Q"]
    query_classes: Int[np.ndarray, " Q"]


@dataclass(frozen=True)
class EpisodeResult:
    """What a method reaches.

    Attributes:
        method: registered name.
        accuracy: mean over episodes with a 95 % interval (normal, over episodes).
        auroc: mean one-vs-rest AUROC over classes and episodes, likewise.
        chance: accuracy of guessing.
    """

    method: str
    accuracy: MetricValue
    auroc: MetricValue
    chance: float


def draw_episode(
    classes: Int[np.ndarray, " N"], patients: Shaped[np.ndarray, " N"], options: EpisodeOptions, number: int
) -> Episode:
    """Draw one episode; a function of the seed and its number alone.

    Args:
        classes: class of each image; below 0 where it has none.
        patients: patient of each image.
        options: ways, shots and queries.
        number: of the episode.

    Raises:
        CohortError: too few classes, or a class whose patients cannot fill support and query apart.
    """
    rng = np.random.default_rng((options.seed, number))
    known = np.unique(classes[classes >= 0])
    if len(known) < options.ways:
        found = "images of one class only" if len(known) == 1 else f"images of {len(known)} classes"
        raise CohortError(found, where="episodes", expected=f"{options.ways}, the ways of an episode")
    chosen = rng.choice(known, options.ways, replace=False)
    support: list[int] = []
    taken: set[object] = set()
    for kind in chosen:
        rows = one_each(rng.permutation(np.flatnonzero(classes == kind)), patients, taken, options.shots)
        if len(rows) < options.shots:
            raise CohortError(f"{len(rows)} patients of one class", where="episodes", expected=f"{options.shots} shots")
        support += rows
        taken |= {patients[row] for row in rows}
    query: list[int] = []
    labels: list[int] = []
    for place, kind in enumerate(chosen):
        rows = [int(row) for row in rng.permutation(np.flatnonzero(classes == kind)) if patients[row] not in taken]
        if not rows:
            found = "a class has no patient beside those of the support"
            raise CohortError(found, where="episodes", fix="Give fewer shots or more patients.")
        query += rows[: options.queries]
        labels += [place] * len(rows[: options.queries])
    return Episode(
        np.array(support), np.repeat(np.arange(options.ways), options.shots), np.array(query), np.array(labels)
    )


def run_episodes(
    method: str,
    features: Features,
    classes: Int[np.ndarray, " N"],
    patients: Shaped[np.ndarray, " N"],
    options: EpisodeOptions,
    *,
    base: Features,
    **settings: object,
) -> EpisodeResult:
    """Judge a method over many episodes.

    Args:
        method: registered name.
        features: of the held-out images.
        classes: class of each; below 0 where it has none.
        patients: patient of each.
        options: how episodes are drawn; equal options give every method the same episodes.
        base: features of other images, for methods that centre by them.
        **settings: the method's own options.

    Raises:
        CohortError: from `draw_episode`.
        SettingsError: unknown method or option.
    """
    classifier = FEWSHOT.build(method, settings, base=base)
    right, ranked = np.empty(options.episodes), np.empty(options.episodes)
    for number in range(options.episodes):
        episode = draw_episode(classes, patients, options, number)
        scores = classifier.scores(
            features[episode.support], episode.support_classes, features[episode.query], options.ways
        )
        right[number] = _balanced_accuracy(scores.argmax(axis=1), episode.query_classes, options.ways)
        ranked[number] = _mean_auroc(scores, episode.query_classes, options.ways)
    return EpisodeResult(method, over_draws(right, "episodes"), over_draws(ranked, "episodes"), 1 / options.ways)


def over_draws(values: np.ndarray, what: str) -> MetricValue:
    """Mean over independent draws with a 95 % interval; NaNs do not count."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return MetricValue.undefined(f"{len(known)} {what} are defined", len(known))
    half = 1.96 * float(known.std(ddof=1)) / math.sqrt(len(known))
    mean = float(known.mean())
    return MetricValue(mean, mean - half, mean + half, len(known), interval=f"normal over {what}")


def one_each(rows: np.ndarray, patients: np.ndarray, taken: set[object], count: int) -> list[int]:
    """So many rows of different patients that are not taken."""
    found: list[int] = []
    seen = set(taken)
    for row in rows:
        if len(found) == count:
            break
        if patients[row] not in seen:
            found.append(int(row))
            seen.add(patients[row])
    return found


def _balanced_accuracy(said: np.ndarray, truth: np.ndarray, ways: int) -> float:
    return float(np.mean([(said[truth == k] == k).mean() for k in range(ways)]))


def _mean_auroc(scores: np.ndarray, truth: np.ndarray, ways: int) -> float:
    """One class against the rest, by the score less the best other one."""
    values: list[float] = []
    for k in range(ways):
        others = np.delete(scores, k, axis=1).max(axis=1)
        values.append(auroc((truth == k).astype(float), scores[:, k] - others).value)
    return float(np.mean(values))
