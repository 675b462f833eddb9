"""How much of a training image an update gives away: gradient inversion on a small case.

Deep leakage from gradients (Zhu et al., NeurIPS 2019) with the cosine objective of Geiping et al. (NeurIPS 2020) and
the label known: an attacker who sees the gradient of one image looks for an image with the same gradient. What the
attack reaches is a lower bound on what leaks; that it fails is no proof that nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from resight.federated.privacy import check_network

Protection = Literal["none", "clipped", "noise", "secure sum"]


@dataclass(frozen=True)
class Leak:
    """What came of one attack.

    Attributes:
        protection: what the attacker saw: the gradient as it is, clipped, clipped with noise, or the sum over sites.
        correlation: of the image that was found with the true one, given the mean of the other sites' images, as
            medical images look alike; 1 is the image itself.
        without: the best that an image of another site reaches, without an attack; NaN where there is none.
        psnr_db: peak signal to noise ratio of the image that was found, scaled to the true one's mean and contrast.
        found: the image that was found, 0 to 1.
    """

    protection: str
    correlation: float
    without: float
    psnr_db: float
    found: Float[np.ndarray, "C H W"]


def attack(
    model: nn.Module,
    images: Float[Tensor, "K C H W"],
    targets: Float[Tensor, "K L"],
    protection: Protection,
    *,
    clip_norm: float = 1.0,
    noise: float = 1.0,
    steps: int = 300,
    rate: float = 0.1,
    seed: int = 0,
) -> Leak:
    """Try to get the first image back.

    Args:
        model: images 0 to 255 to logits; without batch normalisation.
        images: one image a site, 0 to 255; the attacker is after the first.
        targets: their labels, known to the attacker.
        protection: what the attacker sees of the gradients.
        clip_norm: of the gradient, where it is clipped.
        noise: standard deviation over `clip_norm`, where there is noise.
        steps: of the attack.
        rate: learning rate of the attack.
        seed: of noise and of where the attack begins.

    Raises:
        SettingsError: batch normalisation, which would mix images.
    """
    check_network(model)
    model = model.eval()
    weights = [p for p in model.parameters() if p.requires_grad]
    random = torch.Generator().manual_seed(seed)
    each = [_gradient(model, weights, image[None], target[None]) for image, target in zip(images, targets, strict=True)]
    seen = _seen(each, protection, clip_norm, noise, random)
    guess = torch.rand(images[:1].shape, generator=random).requires_grad_()
    optimizer = torch.optim.Adam([guess], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        tried = _gradient(model, weights, 255 * guess, targets[:1], keep=True)
        distance = 1 - _cosine(tried, seen) + 1e-2 * _roughness(guess)
        distance.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            guess.clamp_(0, 1)
    found, true = guess.detach()[0].numpy(), images[0].numpy() / 255
    alike = images[1:].mean(dim=0).numpy() if len(images) > 1 else np.zeros_like(true)
    others = [_correlation(image.numpy(), true, alike) for image in images[1:]]
    without = max(others, default=float("nan"))
    return Leak(protection, _correlation(found, true, alike), without, _psnr_db(found, true), found)


def _gradient(
    model: nn.Module, weights: Sequence[Tensor], image: Tensor, target: Tensor, *, keep: bool = False
) -> list[Tensor]:
    loss = nn.functional.binary_cross_entropy_with_logits(model(image), target)
    return list(torch.autograd.grad(loss, weights, create_graph=keep))


def _seen(
    each: list[list[Tensor]], protection: Protection, clip_norm: float, noise: float, random: torch.Generator
) -> list[Tensor]:
    if protection == "secure sum":
        return [torch.stack(parts).sum(dim=0) for parts in zip(*each, strict=True)]
    own = each[0]
    if protection == "none":
        return own
    size = torch.sqrt(sum((g.square().sum() for g in own), start=torch.zeros(())))
    own = [g * torch.clamp(clip_norm / size, max=1.0) for g in own]
    if protection == "noise":
        own = [g + noise * clip_norm * torch.randn(g.shape, generator=random) for g in own]
    return own


def _cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    zero = torch.zeros(())
    product = sum(((x * y).sum() for x, y in zip(a, b, strict=True)), start=zero)
    norms = [torch.sqrt(sum((x.square().sum() for x in one), start=zero)) for one in (a, b)]
    return product / (norms[0] * norms[1] + 1e-12)


def _roughness(image: Tensor) -> Tensor:
    return image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()


def _correlation(found: np.ndarray, true: np.ndarray, alike: np.ndarray) -> float:
    """Partial correlation of two images given a third."""
    design = np.stack([alike.ravel(), np.ones(true.size)], axis=1)
    rest = [image.ravel() - _fitted(design, image.ravel()) for image in (found, true)]
    if min(one.std() for one in rest) < 1e-9:
        return float("nan")
    return float(np.corrcoef(rest[0], rest[1])[0, 1])


def _psnr_db(found: np.ndarray, true: np.ndarray) -> float:
    design = np.stack([found.ravel(), np.ones(found.size)], axis=1)
    error = float(np.mean((_fitted(design, true.ravel()) - true.ravel()) ** 2))
    return float(-10 * np.log10(max(error, 1e-12)))


def _fitted(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    return design @ np.linalg.lstsq(design, values, rcond=None)[0]
