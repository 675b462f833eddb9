"""The verdict on explanations: shown without it, a map persuades whether or not it says anything about the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from resight.errors import DataError
from resight.explain.base import Explainer, Explanation, Images, Maps
from resight.explain.faithfulness import PerturbationCurves, perturbation_curves
from resight.explain.localisation import centre_map, localise
from resight.explain.sanity import alikeness, randomised
from resight.models import Classifier
from resight.settings import Options
from resight.types import Task

MapRows = Float[np.ndarray, "P *space"]

_ONE_SIDED_95 = 1.645


class TrustOptions(Options):
    """When maps are called trustworthy."""

    largest_spearman: float = Field(
        default=0.5, ge=0, le=1, description="rank correlation that maps of a randomised model may still have"
    )
    largest_completeness_error: float = Field(
        default=0.1, ge=0, description="median share of the evidence that may be unaccounted for"
    )
    steps: int = Field(default=16, gt=1, description="points on the deletion and insertion curves")
    fill: Literal["mean", "image", "black"] = Field(default="image", description="what deleted pixels become")
    seed: int = Field(default=0, description="seed of the random weights")


@dataclass(frozen=True)
class Verdict:
    """Whether maps may be shown as explanations of this model on these images.

    Attributes:
        passed: no check failed; otherwise the maps are not trustworthy here.
        reasons: one sentence for each failed check.
        measures: what was measured, by name.
        curves: of deletion and insertion; None where the maps held no usable values.
    """

    passed: bool
    reasons: tuple[str, ...]
    measures: Mapping[str, float]
    curves: PerturbationCurves | None = None


class Compared:
    """Maps of a model and of networks that know nothing, each made when first asked for and then kept.

    Args:
        explainer: the method.
        classifier: the model.
        images: `(B, C, *space)`, prepared, 0 to 255.
        control: the same network trained on permuted labels.
        seed: of the random weights.
    """

    def __init__(
        self, explainer: Explainer, classifier: Classifier, images: Images, control: Classifier | None, seed: int
    ) -> None:
        self.explainer, self.classifier, self.images, self.seed = explainer, classifier, images, seed
        self._control = control

    @cached_property
    def explanation(self) -> Explanation:
        """Of the model."""
        return self.explainer.predict_and_explain(self.classifier, self.images)

    @cached_property
    def random(self) -> Maps:
        """When all weights are random."""
        return self.explainer.explain(randomised(self.classifier, seed=self.seed), self.images)

    @cached_property
    def permuted(self) -> Maps | None:
        """Of the control; None without one.

        Raises:
            DataError: the control has other labels than the model.
        """
        if self._control is None:
            return None
        maps, expected = self.explainer.explain(self._control, self.images), self.explanation.maps.shape
        if maps.shape != expected:
            found = f"a control with {maps.shape[1]} labels"
            raise DataError(found, where="explanations", expected=f"{expected[1]}, as the model")
        return maps


def judge(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    *,
    chosen: Bool[Tensor, "B L"] | None = None,
    references: Bool[np.ndarray, "B L *space"] | None = None,
    control: Classifier | None = None,
    task: Task = "multilabel",
    options: TrustOptions | None = None,
) -> Verdict:
    """Put an explainer to the test on a model and some images; 20 or more tell something.

    Args:
        explainer: the method.
        classifier: the model.
        images: `(B, C, *space)`, prepared, 0 to 255.
        chosen: which images and labels to explain; those with a reference, or each image's highest logit, by default.
        references: where findings are; False everywhere where no reference exists.
        control: the same network trained on permuted labels; its maps must be others (Adebayo et al. 2018, 3.2).
        task: `multiclass` takes softmax for the probability, otherwise sigmoid.
        options: the limits.

    Raises:
        DataError: no image and label is chosen, or references or the control's labels do not fit the maps.
    """
    options = options or TrustOptions()
    compared = Compared(explainer, classifier, images, control, options.seed)
    if chosen is None:
        chosen = default_pairs(compared.explanation.logits, references)
    return judge_maps(compared, chosen, references, task, options)


def judge_maps(
    compared: Compared,
    chosen: Bool[Tensor, "B L"],
    references: Bool[np.ndarray, "B L *space"] | None,
    task: Task,
    options: TrustOptions,
) -> Verdict:
    """The verdict on maps that are needed elsewhere too. Arguments and errors as `judge`."""
    maps = compared.explanation.maps
    if references is not None and references.shape != maps.shape:
        found = f"references {references.shape}"
        raise DataError(found, where="explanations", expected=f"{tuple(maps.shape)}, as the maps")
    if not chosen.any():
        raise DataError("no image and label is chosen", where="explanations", expected="one or more")
    measures: dict[str, float] = {}
    reasons = list(_check_values(maps[chosen].flatten(1), measures))
    curves: PerturbationCurves | None = None
    if not reasons:
        explained, random = (part[chosen].cpu().numpy() for part in (maps, compared.random))
        curves = perturbation_curves(
            compared.classifier,
            compared.images,
            maps,
            chosen,
            task=task,
            fill=options.fill,
            steps=options.steps,
        )
        reasons += _check_other_maps(explained, random, "weights", options.largest_spearman, measures)
        if compared.permuted is not None:
            permuted = compared.permuted[chosen].cpu().numpy()
            reasons += _check_other_maps(explained, permuted, "labels", options.largest_spearman, measures)
        reasons += _check_faithfulness(curves, measures)
        errors = compared.explainer.completeness_error(compared.classifier, compared.images, maps)
        if errors is not None:
            reasons += _check_completeness(errors[chosen], options.largest_completeness_error, measures)
        if references is not None:
            reasons += _check_pointing(explained, random, references[chosen.cpu().numpy()], measures)
    return Verdict(not reasons, tuple(reasons), measures, curves)


def default_pairs(
    logits: Float[Tensor, "B L"], references: Bool[np.ndarray, "B L *space"] | None
) -> Bool[Tensor, "B L"]:
    """Images and labels that are judged when none are named: those with a reference, or the highest logit."""
    if references is not None:
        return torch.from_numpy(references.any(axis=tuple(range(2, references.ndim)))).to(logits.device)
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, logits.argmax(dim=1, keepdim=True), value=True)


def _check_values(maps: Float[Tensor, "P V"], measures: dict[str, float]) -> Iterator[str]:
    finite = bool(maps.isfinite().all())
    empty = (maps.amax(dim=1) == maps.amin(dim=1)).float().mean().item()
    measures["empty"] = empty
    if not finite:
        yield "Maps hold values that are not finite."
    if empty > 0.5:
        yield f"{empty:.0%} of the maps are the same everywhere."


_OTHER_MODELS = {
    "weights": ("spearman_randomised", "when all weights are random"),
    "labels": ("spearman_permuted_labels", "when the network was trained on permuted labels"),
}


def _check_other_maps(
    maps: MapRows, others: MapRows, random: str, limit: float, measures: dict[str, float]
) -> Iterator[str]:
    name, when = _OTHER_MODELS[random]
    alike = measures[name] = float(np.nanmean(alikeness(maps, others)))
    if alike > limit:
        yield f"Maps hardly change {when}: rank correlation {alike:.2f}, at most {limit:g} expected."


def _check_faithfulness(curves: PerturbationCurves, measures: dict[str, float]) -> Iterator[str]:
    gain = curves.gain
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    measures["deletion_auc"] = float(curves.deletion_auc.mean())
    measures["insertion_auc"] = float(curves.insertion_auc.mean())
    measures["gain"] = float(gain.mean())
    if not gain.mean() - _ONE_SIDED_95 * error > 0:
        yield (
            "Deleting what the maps point at is no better than a random order: insertion less deletion "
            f"{gain.mean():.3f}, standard error {error:.3f}."
        )


def _check_completeness(errors: Float[Tensor, " P"], limit: float, measures: dict[str, float]) -> Iterator[str]:
    error = measures["completeness_error"] = float(errors.median())
    if not error <= limit:
        yield (
            f"The evidence does not add up to the prediction: {error:.0%} unaccounted for, "
            f"at most {limit:.0%} expected; more steps help."
        )


def _check_pointing(
    maps: MapRows, random: MapRows, references: Bool[np.ndarray, "P *space"], measures: dict[str, float]
) -> Iterator[str]:
    centre = np.broadcast_to(centre_map(maps.shape[1:]), maps.shape)
    hits, *baselines = (localise(rows, references).pointing.value for rows in (maps, centre, random))
    measures["pointing"] = hits
    for baseline, name, words in zip(
        baselines, ("centre", "random_weights"), ("pointing at the centre", "a model with random weights"), strict=True
    ):
        measures[f"pointing_{name}"] = baseline
        # Where the baseline never misses, hitting as often is no failure.
        if hits < baseline or hits == baseline < 1:
            yield f"Maps hit {hits:.0%} of the references; {words} hits {baseline:.0%}."
