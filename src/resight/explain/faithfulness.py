"""Does the prediction depend on what the map points at.

Sources: deletion and insertion, Petsiuk et al., BMVC 2018; ROAD, Rong et al., ICML 2022;
infidelity, Yeh et al., NeurIPS 2019, definition 2.1.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import cg
from torch import Tensor

from resight.explain.base import Fill, Images, Maps, evaluating, filled, logits_in_parts
from resight.models import Classifier
from resight.types import Task

Chosen = Bool[Tensor, "B L"]
"""Which maps are scored; scores come out in the order of `chosen.nonzero()`, one for each of P pairs."""


@dataclass(frozen=True)
class PerturbationCurves:
    """Probability of a label while its evidence is taken away, and while it is given.

    Attributes:
        share: `(S,)` of the pixels hidden or shown, 0 to 1.
        deletion: `(P, S)` hiding the strongest evidence first.
        insertion: `(P, S)` showing the strongest evidence first.
    """

    share: Float[np.ndarray, " S"]
    deletion: Float[np.ndarray, "P S"]
    insertion: Float[np.ndarray, "P S"]

    @property
    def deletion_auc(self) -> Float[np.ndarray, " P"]:
        """Area under the deletion curve; small is faithful."""
        return np.trapezoid(self.deletion, self.share, axis=1)

    @property
    def insertion_auc(self) -> Float[np.ndarray, " P"]:
        """Area under the insertion curve; large is faithful."""
        return np.trapezoid(self.insertion, self.share, axis=1)

    @property
    def gain(self) -> Float[np.ndarray, " P"]:
        """Insertion less deletion; 0 is expected of any random order, because both fill alike."""
        return self.insertion_auc - self.deletion_auc


def perturbation_curves(
    classifier: Classifier,
    images: Images,
    maps: Maps,
    chosen: Chosen,
    *,
    task: Task = "multilabel",
    fill: Fill = "image",
    steps: int = 20,
    batch: int = 64,
) -> PerturbationCurves:
    """Hide and show pixels in the order of their evidence.

    Args:
        classifier: the model explained.
        images: `(B, C, *space)`, 0 to 255.
        maps: its explanation.
        chosen: which images and labels to score.
        task: `multiclass` takes softmax for the probability, otherwise sigmoid.
        fill: what hidden pixels become.
        steps: points on the curves beside the first.
        batch: images in one forward pass.
    """
    images = images.to(classifier.mean)
    hidden = filled(fill, classifier, images)
    share = np.linspace(0, 1, steps + 1)
    curves = []
    with evaluating(classifier):
        for image, label in chosen.nonzero().tolist():
            ranks = _ranks(maps[image, label])
            first = torch.stack([ranks < round(s * ranks.numel()) for s in share.tolist()])[:, None]
            stack = torch.cat([images[image].where(~first, hidden[image]), images[image].where(first, hidden[image])])
            curves.append(_probabilities(logits_in_parts(classifier, stack, batch), task)[:, label].double().cpu())
    both = torch.stack(curves).numpy() if curves else np.empty((0, 2 * steps + 2))
    return PerturbationCurves(share, both[:, : steps + 1], both[:, steps + 1 :])


def road(
    classifier: Classifier,
    images: Images,
    maps: Maps,
    chosen: Chosen,
    *,
    task: Task = "multilabel",
    shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8),
    noise: float = 0.01,
    seed: int = 0,
) -> Float[np.ndarray, " P"]:
    """Remove and debias: probability without the weakest evidence less that without the strongest.

    Removed pixels are interpolated from what is left, so that their shape gives nothing away and the image stays an
    image; works for volumes.

    Args:
        classifier: the model explained.
        images: `(B, C, *space)`, 0 to 255.
        maps: its explanation.
        chosen: which images and labels to score.
        task: `multiclass` takes softmax for the probability, otherwise sigmoid.
        shares: of the pixels removed, above 0 and below 1; the score is the mean over them.
        noise: standard deviation of what is added to interpolated pixels, as a share of full scale.
        seed: of the noise.

    Returns:
        -1 to 1 for each pair; 0 is expected of a random order.
    """
    images = images.to(classifier.mean)
    rng = np.random.default_rng(seed)
    scores = []
    with evaluating(classifier):
        for image, label in chosen.nonzero().tolist():
            ranks, pixels = _ranks(maps[image, label]).cpu().numpy(), images[image].double().cpu().numpy()
            counts = [min(max(round(share * ranks.size), 1), ranks.size - 1) for share in shares]
            removed = [*(ranks >= ranks.size - n for n in counts), *(ranks < n for n in counts)]
            stack = np.stack([_interpolated(pixels, region, 255 * noise, rng) for region in removed])
            logits = logits_in_parts(classifier, torch.from_numpy(stack).to(images), len(stack))
            weakest, strongest = _probabilities(logits, task)[:, label].double().cpu().numpy().reshape(2, -1)
            scores.append((weakest - strongest).mean())
    return np.asarray(scores, dtype=np.float64)


def infidelity(
    classifier: Classifier,
    images: Images,
    maps: Maps,
    perturbations: Float[Tensor, "R B 1 *space"],
    *,
    normalise: bool = False,
) -> Float[Tensor, "B L"]:
    """Mean squared error of the map as a linear predictor of what a perturbation does to the logits.

    Args:
        classifier: the model explained.
        images: `(B, C, *space)`, 0 to 255.
        maps: its explanation.
        perturbations: what is subtracted from the images, the same in every channel, R times.
        normalise: first scale every map to fit best, for methods whose unit is not logits per grey level.

    Returns:
        In squared logits; 0 for the weights of a linear model.
    """
    images = images.to(classifier.mean)
    with evaluating(classifier):
        before = logits_in_parts(classifier, images, len(images))
        after = torch.stack([logits_in_parts(classifier, images - p, len(images)) for p in perturbations.to(images)])
    expected = torch.einsum("rbp,blp->rbl", perturbations.flatten(2).to(maps), maps.flatten(2))
    change = before - after
    if normalise:
        power = expected.square().sum(dim=0)
        scale = (expected * change).sum(dim=0) / power
        expected = expected * torch.where(power > 0, scale, torch.ones_like(scale))
    return (expected - change).square().mean(dim=0)


def _ranks(evidence: Float[Tensor, "*space"]) -> Tensor:
    """0 for the strongest pixel, counting up; equal pixels in array order."""
    order = evidence.flatten().argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.view(evidence.shape)


def _probabilities(logits: Float[Tensor, "B L"], task: Task) -> Float[Tensor, "B L"]:
    return logits.softmax(dim=1) if task == "multiclass" else logits.sigmoid()


def _interpolated(
    pixels: Float[np.ndarray, "C *space"], removed: Bool[np.ndarray, "*space"], noise: float, rng: np.random.Generator
) -> Float[np.ndarray, "C *space"]:
    """Every removed pixel becomes the weighted mean of its neighbours, removed ones included, plus noise.

    Straight neighbours weigh twice as much as diagonal ones, as in the paper, those over a corner of a cube half of
    these. Multiplied out the equations are a graph's Laplacian: symmetric and positive definite, so conjugate gradients
    solve them in 2D and 3D.
    """
    number = np.full(removed.shape, -1)
    number[removed] = np.arange(removed.sum())
    count = int(removed.sum())
    known = np.zeros((count, len(pixels)))
    degree = np.zeros(count)
    rows, columns, weights = [], [], []
    for offset in itertools.product((-1, 0, 1), repeat=removed.ndim):
        if not any(offset):
            continue
        weight = 0.5 ** (np.count_nonzero(offset) - 1)
        here = tuple(slice(max(0, -o), side - max(0, o)) for o, side in zip(offset, removed.shape, strict=True))
        there = tuple(slice(max(0, o), side - max(0, -o)) for o, side in zip(offset, removed.shape, strict=True))
        both = removed[here] & removed[there]
        rows.append(number[here][both])
        columns.append(number[there][both])
        weights.append(np.full(both.sum(), -weight))
        edge = removed[here] & ~removed[there]
        known[number[here][edge]] += weight * pixels[(slice(None), *there)][:, edge].T
        degree[number[here][removed[here]]] += weight
    index = (np.concatenate(rows), np.concatenate(columns))
    off_diagonal = coo_array((np.concatenate(weights), index), shape=(count, count))
    matrix = (off_diagonal + diags_array(degree)).tocsr()
    scale = diags_array(1 / degree)
    result = pixels.copy()
    for channel, right in zip(result, known.T, strict=True):
        # A residual of 1e-4 of the right side is far below one grey level.
        start = np.full(count, channel[~removed].mean())
        channel[removed] = cg(matrix, right, x0=start, rtol=1e-4, M=scale)[0] + noise * rng.standard_normal(count)
    return result
