"""What a network said of a chunk of images, before it becomes rows of a table."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from resight.types import Scores


@dataclass(frozen=True)
class ChunkAnswers:
    """Answers of N images; NaN, and -1, where an image could not be used.

    Attributes:
        logits: `(N, L)`.
        probabilities: `(N, L)` of a budget.
        left_at: number of the exit each image left at.
        share: of the network's FLOPs that it took.
        spread: `(N, L)` standard deviation of several answers.
        novelty: share of held-out images that lie nearer to the training images.
        coordinates: `(N, K)` along the directions in which training images differ most.
    """

    logits: Scores
    probabilities: Scores
    left_at: Int[np.ndarray, " N"]
    share: Float[np.ndarray, " N"]
    spread: Scores
    novelty: Float[np.ndarray, " N"]
    coordinates: Float[np.ndarray, "N K"]


def empty_answers(count: int, n_labels: int, n_coordinates: int = 0) -> ChunkAnswers:
    """Nothing known of so many images."""
    unknown, of_images = np.full((count, n_labels), np.nan), np.full(count, np.nan)
    return ChunkAnswers(
        logits=unknown,
        probabilities=unknown.copy(),
        left_at=np.full(count, -1),
        share=of_images,
        spread=unknown.copy(),
        novelty=of_images.copy(),
        coordinates=np.full((count, n_coordinates), np.nan),
    )


def joined_answers(answers: list[ChunkAnswers], n_labels: int) -> ChunkAnswers:
    """Chunks one after the other."""
    if not answers:
        return empty_answers(0, n_labels)
    names = (field.name for field in fields(ChunkAnswers))
    return ChunkAnswers(*(np.concatenate([getattr(one, name) for one in answers]) for name in names))
