"""Does the map change when the model does, and stay when the image hardly changes.

Sources: cascading weight randomisation, Adebayo et al., NeurIPS 2018, section 3.1; maximal sensitivity, Yeh et al.,
NeurIPS 2019, definition 3.1; structural similarity, Wang et al., IEEE TIP 2004, equation 13.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage, stats
from torch import Tensor, nn

from resight.explain.base import Explainer, Images, Maps
from resight.models import Classifier

Map = Float[np.ndarray, "*space"]


@dataclass(frozen=True)
class Cascade:
    """How alike the maps stay while layer after layer loses its weights, from the head to the first layer.

    Attributes:
        randomised: `(S,)` share of the layers that are random, above 0 to 1.
        spearman: `(S, P)` rank correlation with the map of the trained model, as `alikeness` has it.
        ssim: `(S, P)` structural similarity with it, both scaled to 0 to 1; NaN where one of both is constant.
    """

    randomised: Float[np.ndarray, " S"]
    spearman: Float[np.ndarray, "S P"]
    ssim: Float[np.ndarray, "S P"]


def randomised(classifier: Classifier, *, share: float = 1.0, seed: int = 0) -> Classifier:
    """A copy whose last layers have random weights.

    Weights are drawn from a normal distribution of mean 0 and the layer's own spread; scales and shifts, which have at
    most one dimension, are shuffled. Both keep activations in their usual range: what is destroyed is knowledge.

    Args:
        classifier: the trained model; stays as it is.
        share: of the layers with weights, counted from the head.
        seed: of the weights; a larger share repeats the smaller one's.
    """
    generator = torch.Generator().manual_seed(seed)
    changed = copy.deepcopy(classifier)
    layers = [layer for layer in changed.modules() if next(layer.parameters(recurse=False), None) is not None]
    for layer in layers[::-1][: round(share * len(layers))]:
        for parameter in layer.parameters(recurse=False):
            _randomise(parameter, generator)
    return changed


def randomisation_cascade(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    chosen: Bool[Tensor, "B L"],
    *,
    steps: int = 4,
    seed: int = 0,
    original: Maps | None = None,
    random: Maps | None = None,
) -> Cascade:
    """Compare the maps with those of ever more randomised models.

    Args:
        explainer: the method that is checked.
        classifier: the trained model.
        images: `(B, C, *space)`, 0 to 255.
        chosen: which images and labels to compare.
        steps: models on the way to a wholly random one.
        seed: of the weights.
        original: maps of the trained model, where they are known.
        random: maps of the wholly random one of this seed, where they are known.
    """
    trained = _rows(explainer.explain(classifier, images) if original is None else original, chosen)
    shares = np.arange(1, steps + 1) / steps
    correlation, similarity = np.empty((2, steps, len(trained)))
    for step, share in enumerate(shares.tolist()):
        known = random if share == 1 else None
        if known is None:
            known = explainer.explain(randomised(classifier, share=share, seed=seed), images)
        changed = _rows(known, chosen)
        correlation[step] = alikeness(trained, changed)
        similarity[step] = [_ssim(a, b) for a, b in zip(trained, changed, strict=True)]
    return Cascade(shares, correlation, similarity)


def max_sensitivity(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    noise: Float[Tensor, "R B C *space"],
    *,
    original: Maps | None = None,
) -> Float[Tensor, "B L"]:
    """Largest relative change of a map when its image changes a little.

    Args:
        explainer: the method that is checked.
        classifier: the model explained.
        images: `(B, C, *space)`, 0 to 255.
        noise: small changes to try, in grey levels; the paper draws them uniformly within a radius.
        original: maps of the images as they are, where they are known.

    Returns:
        Norm of the change over the norm of the map (over 1 where the map is empty); small is stable.
    """
    images = images.to(classifier.mean)
    before = (explainer.explain(classifier, images) if original is None else original).flatten(2)
    size = before.norm(dim=2)
    size = torch.where(size > 0, size, torch.ones_like(size))
    changes = [
        (explainer.explain(classifier, images + n).flatten(2) - before).norm(dim=2) / size for n in noise.to(images)
    ]
    return torch.stack(changes).amax(dim=0)


def spearman(a: Map, b: Map) -> float:
    """Rank correlation of two maps, -1 to 1; NaN where one is the same everywhere."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    ranks = stats.rankdata(a), stats.rankdata(b)
    return float(np.corrcoef(ranks)[0, 1])


def alikeness(maps: Float[np.ndarray, "P *space"], others: Float[np.ndarray, "P *space"]) -> Float[np.ndarray, " P"]:
    """Rank correlation of each map with that of another model.

    Returns:
        NaN where the map itself is the same everywhere; 0 where the other is, for it has changed as much as it can.
    """
    pairs = zip(maps, others, strict=True)
    return np.array([np.nan if np.ptp(a) == 0 else spearman(a, b) if np.ptp(b) > 0 else 0.0 for a, b in pairs])


@torch.no_grad()
def _randomise(parameter: nn.Parameter, generator: torch.Generator) -> None:
    if parameter.ndim > 1:
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(drawn * parameter.std(correction=0).cpu())
    else:
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _rows(maps: Maps, chosen: Bool[Tensor, "B L"]) -> Float[np.ndarray, "P *space"]:
    return maps[chosen].double().cpu().numpy()


def _ssim(a: Map, b: Map) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    a, b = ((x - x.min()) / np.ptp(x) for x in (a, b))

    def local(x: Map) -> Map:
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5)  # the paper's window of 11 pixels

    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())
