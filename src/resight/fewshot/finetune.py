"""Episodic fine-tuning: a backbone learns to tell classes apart from a few images (Snell et al., NeurIPS 2017).

Each step is an episode of the base patients: class means of the support are the prototypes, and the loss is the
cross-entropy of the queries by their squared distance to them (equations 2 and 3).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from resight.errors import CohortError, TrainingError
from resight.fewshot.cohort_features import classes_of, held_out_of, patients_of
from resight.fewshot.episodes import EpisodeOptions, draw_episode
from resight.models import Classifier, Predictor, channels_last
from resight.preprocess import Store
from resight.training import TrainingOptions
from resight.training.schedule import build_optimizer
from resight.types import Cohort, Progress, silent

_LAST = 50
"""Episodes at either end whose accuracy is told."""


class FinetuneOptions(EpisodeOptions):
    """Episodes to learn from, of the patients outside the test split."""

    learning_rate: float = Field(default=1e-4, gt=0, description="of AdamW, constant")
    weight_decay: float = Field(default=0.05, ge=0)


@dataclass(frozen=True)
class Finetuned:
    """Accuracy of the queries, before each step, at both ends of the fine-tuning; on base patients, so not a result.

    Attributes:
        first: mean over the first 50 episodes at most.
        last: over the last 50 at most.
        patients: base patients that episodes were drawn from.
    """

    first: float
    last: float
    patients: int


def finetune(predictor: Predictor, cohort: Cohort, options: FinetuneOptions, progress: Progress = silent) -> Finetuned:
    """Fine-tune the network that `predictor.features` asks; normalisation keeps its statistics, its scale learns.

    Args:
        predictor: of the bundle; changed in memory, its files are not.
        cohort: with a test split, whose patients are left out.
        options: episodes, learning rate.
        progress: told after every episode.

    Raises:
        CohortError: no test split, patients in it and outside, or episodes that cannot be drawn.
        TrainingError: a loss that is not finite.
        ImageError: too many images cannot be read.
    """
    held_out = held_out_of(cohort)
    if held_out.all():
        fix = "Split the cohort first: resight data split."
        raise CohortError("no test split, so no patients to fine-tune on", where=cohort.name, fix=fix)
    patients = patients_of(cohort)
    if shared := set(patients[held_out]) & set(patients[~held_out]):
        raise CohortError(f"patient {min(shared)} is in the test split and outside it", where=cohort.name)
    base = cohort.rows(~held_out)
    with tempfile.TemporaryDirectory(prefix="resight-") as folder:
        store = Store.build(base.files, predictor.manifest.recipe, Path(folder), workers=1)
        classes = classes_of(base)
        classes[list(store.errors)] = -1
        return _learn(predictor, store, classes, patients[~held_out], options, progress)


def prototypical_loss(
    support: Float[Tensor, "S F"], classes: Int[Tensor, " S"], queries: Float[Tensor, "Q F"], truth: Int[Tensor, " Q"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Loss and accuracy of one episode.

    Args:
        support: features of the labelled images.
        classes: class of each, from 0, none left out.
        queries: features to judge.
        truth: class of each.
    """
    means = torch.stack([support[classes == k].mean(dim=0) for k in range(int(classes.max()) + 1)])
    logits = -(queries[:, None] - means).square().sum(dim=2)
    return functional.cross_entropy(logits, truth), (logits.argmax(dim=1) == truth).float().mean()


def _learn(
    predictor: Predictor,
    store: Store,
    classes: Int[np.ndarray, " N"],
    patients: np.ndarray,
    options: FinetuneOptions,
    progress: Progress,
) -> Finetuned:
    network: Classifier = predictor.network
    steps = TrainingOptions(learning_rate=options.learning_rate, weight_decay=options.weight_decay)
    optimizer = build_optimizer(network.backbone, steps)
    network.eval()  # an episode's few images are no basis for statistics
    right: list[float] = []
    for number in range(options.episodes):
        episode = draw_episode(classes, patients, options, number)
        rows = np.concatenate([episode.support, episode.query])
        images = torch.from_numpy(np.stack([np.array(store[int(row)]) for row in rows])).to(predictor.device)
        features = network.features(channels_last(images)).float()
        support, queries = features.split([len(episode.support), len(episode.query)])
        known, truth = (
            torch.from_numpy(part).to(predictor.device) for part in (episode.support_classes, episode.query_classes)
        )
        loss, accuracy = prototypical_loss(support, known, queries, truth)
        if not torch.isfinite(loss):
            fix = "Lower the learning rate."
            raise TrainingError(f"the loss is not finite in episode {number + 1}", where="fine-tuning", fix=fix)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        right.append(float(accuracy))
        progress("fine-tune", number + 1, options.episodes, f"accuracy {right[-1]:.2f}")
    known_patients = len(set(patients[classes >= 0]))
    return Finetuned(float(np.mean(right[:_LAST])), float(np.mean(right[-_LAST:])), known_patients)
