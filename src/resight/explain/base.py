"""The promise of an explainer: images in, one map of evidence per image and label out, on the grid of the images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from resight.models import Classifier
from resight.registry import Registry

Images = Shaped[Tensor, "B C *space"]
Logits = Float[Tensor, "B L"]
Maps = Float[Tensor, "B L *space"]

Fill = Literal["mean", "image", "black"]
"""What stands where an image is hidden: the mean the model was normalised with, the image's own mean, or 0."""


@dataclass(frozen=True)
class Explanation:
    """Prediction and evidence of a batch, from the same forward pass where the method allows it.

    Attributes:
        logits: `(B, L)`.
        maps: `(B, L, *space)` evidence for each label; the unit is the method's own.
    """

    logits: Logits
    maps: Maps


class Explainer(ABC):
    """Base of all explainers.

    Maps explain logits. The same images give the same maps, whatever else is in the batch. The classifier is evaluated
    in inference mode of its layers (dropout off, batch statistics frozen) and is left as it was found.
    """

    def explain(self, classifier: Classifier, images: Images) -> Maps:
        """Evidence for all labels.

        Args:
            classifier: the model that is asked.
            images: `(B, C, *space)`, prepared images from 0 to 255 of any type, 2D or 3D.

        Returns:
            `(B, L, *space)` on the grid of the images; larger speaks more for the label.

        Raises:
            SettingsError: the options do not fit this classifier, for example a stage it does not have.
        """
        return self.predict_and_explain(classifier, images).maps

    def predict_and_explain(self, classifier: Classifier, images: Images) -> Explanation:
        """Logits and evidence together, cheaper than one after the other. Arguments and errors as `explain`."""
        with torch.inference_mode(mode=False), evaluating(classifier):  # a service's inference mode forbids gradients
            images = images.clone() if images.is_inference() else images.detach()
            logits, maps = self._explain(classifier, images.to(classifier.mean))
        return Explanation(logits.detach(), maps.detach())

    def completeness_error(self, classifier: Classifier, images: Images, maps: Maps) -> Float[Tensor, "B L"] | None:
        """Share of the evidence that does not add up to the prediction; None where the method promises no sum."""
        del classifier, images, maps

    @abstractmethod
    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]: ...


class ExplainerBuilder(Protocol):
    """Builds an explainer; `options` is an instance of the class the member was registered with."""

    def __call__(self, options: Any, /) -> Explainer:
        """Build the explainer."""
        ...


EXPLAINERS: Registry[ExplainerBuilder] = Registry("explainer", "resight.explain")


def build_explainer(name: str, **options: Any) -> Explainer:
    """Build an explainer by name.

    Args:
        name: registered name, for example `"gradcam"`.
        **options: the member's options, for example `stage=-2`.

    Raises:
        SettingsError: unknown name, unknown option or impossible value.
    """
    return EXPLAINERS.build(name, options)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Layers in evaluation mode; afterwards each as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def label_gradients(logits: Logits, at: Float[Tensor, "B *any"]) -> Float[Tensor, "B L *any"]:
    """Gradient of every logit; the graph is freed after the last."""
    n_labels = logits.shape[1]
    sums = logits.sum(dim=0)  # images do not influence each other, so one pass serves the batch
    each = [torch.autograd.grad(sums[i], at, retain_graph=i + 1 < n_labels)[0] for i in range(n_labels)]
    return torch.stack(each, dim=1)


def filled(fill: Fill, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C *space"]:
    """What the images look like when everything is hidden, `(B, C, *space)` from 0 to 255."""
    if fill == "black":
        return torch.zeros_like(images)
    if fill == "image":
        return images.mean(dim=tuple(range(2, images.ndim)), keepdim=True).expand_as(images)
    return (255 * classifier.mean).view(1, -1, *[1] * (images.ndim - 2)).expand_as(images)


def logits_in_parts(classifier: Classifier, images: Images, batch: int) -> Logits:
    """Logits without a graph, at most `batch` images at a time."""
    with torch.no_grad():
        return torch.cat([classifier(part) for part in images.split(batch)])
