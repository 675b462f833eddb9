"""Everything that is measured of an explainer on a model: the verdict, its figures with intervals, and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from resight.explain.base import Explainer, Images
from resight.explain.faithfulness import PerturbationCurves, infidelity, road
from resight.explain.localisation import LocalisationScores, centre_map, localise, means_by_patient
from resight.explain.sanity import alikeness, max_sensitivity, randomisation_cascade
from resight.explain.trust import Compared, TrustOptions, Verdict, default_pairs, judge_maps
from resight.models import Classifier
from resight.settings import plain
from resight.types import MetricValue, Task

_CASCADE_STEPS = 4
_REPEATS = 4
_FEWEST = 20
"""Images that tell something."""
_INFIDELITY_NOISE = 0.1
"""Standard deviation of what is taken from the image for infidelity, as a share of full scale."""
_SENSITIVITY_RADIUS = 0.02
"""Of full scale, as in captum's default."""


@dataclass(frozen=True)
class MapScores:
    """What an explainer was measured to do on a model and some images.

    Attributes:
        method: name of the explainer.
        images: images that were asked about.
        pairs: images and labels whose maps are scored.
        verdict: whether the maps may be shown as explanations.
        faithfulness: `deletion_auc`, `insertion_auc`, `gain` (their difference), `road`, `infidelity` (each map scaled
            to fit best) and `max_sensitivity`, means with intervals by patient.
        other_models: rank correlation with the maps of networks whose last layers, in growing share, have random
            weights, and of one trained on permuted labels where it was given.
        places: localisation of the maps, of the maps where the model calls the finding, of the centre, and of a model
            with random weights; empty without references.
        curves: share of the pixels hidden or shown, mean probability on the deletion and on the insertion curve.
        notes: what was left out.
    """

    method: str
    images: int
    pairs: int
    verdict: Verdict
    faithfulness: Mapping[str, MetricValue]
    other_models: Mapping[str, MetricValue]
    places: Mapping[str, LocalisationScores]
    curves: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        verdict = {"passed": self.verdict.passed, "reasons": self.verdict.reasons, "measures": self.verdict.measures}
        return plain({**vars(self), "verdict": verdict})


def score_maps(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    *,
    method: str,
    references: Bool[np.ndarray, "B L *space"] | None = None,
    called: Bool[np.ndarray, "B L"] | None = None,
    control: Classifier | None = None,
    patients: Sequence[str] | None = None,
    task: Task = "multilabel",
    options: TrustOptions | None = None,
) -> MapScores:
    """Judge an explainer and measure all that is known of it.

    Args:
        explainer: the method.
        classifier: the model.
        images: `(B, C, *space)`, prepared, 0 to 255.
        method: name of the explainer.
        references: where findings are; without any, each image's highest logit is scored.
        called: what the model calls at its operating point.
        control: the same network trained on permuted labels.
        patients: of each image; each image its own patient when not given.
        task: `multiclass` takes softmax for the probability, otherwise sigmoid.
        options: limits of the verdict.

    Raises:
        DataError: references or the control's labels do not fit the maps.
    """
    options, notes = options or TrustOptions(), list[str]()
    if references is not None and not references.any():
        references = None
        notes.append(f"No reference lies on these {len(images)} images: whether maps hit findings is not estimable.")
    if len(images) < _FEWEST:
        notes.append(f"{len(images)} images, fewer than {_FEWEST}, say little of an explainer.")
    if patients is None:
        notes.append("No patients are known: every image counts as a patient, and intervals may be too narrow.")
    compared = Compared(explainer, classifier, images, control, options.seed)
    maps = compared.explanation.maps
    chosen = default_pairs(compared.explanation.logits, references)
    verdict = judge_maps(compared, chosen, references, task, options)
    owners = np.arange(len(images)).astype(str) if patients is None else np.asarray(patients, dtype=object)
    owner = owners[chosen.nonzero()[:, 0].cpu().numpy()]
    faithfulness: dict[str, MetricValue] = {}
    other_models: dict[str, MetricValue] = {}
    places: dict[str, LocalisationScores] = {}
    curves: dict[str, tuple[float, ...]] = {}
    if verdict.curves is not None:
        found = verdict.curves
        faithfulness = _faithfulness(compared, chosen, found, task, owner)
        curves = {
            "share": tuple(found.share.tolist()),
            "deletion": tuple(found.deletion.mean(axis=0).tolist()),
            "insertion": tuple(found.insertion.mean(axis=0).tolist()),
        }
    if maps[chosen].isfinite().all():
        other_models = _other_models(compared, chosen, owner)
        if references is not None:
            places = _places(compared, chosen, references, called, owner)
    return MapScores(
        method, len(images), int(chosen.sum()), verdict, faithfulness, other_models, places, curves, tuple(notes)
    )


def _faithfulness(
    compared: Compared,
    chosen: Bool[Tensor, "B L"],
    curves: PerturbationCurves,
    task: Task,
    owner: Shaped[np.ndarray, " P"],
) -> dict[str, MetricValue]:
    explainer, classifier, images = compared.explainer, compared.classifier, compared.images
    maps = compared.explanation.maps
    generator = torch.Generator().manual_seed(0)
    space = images.shape[2:]
    noise = 255 * _INFIDELITY_NOISE * torch.randn(_REPEATS, len(images), 1, *space, generator=generator)
    radius = 255 * _SENSITIVITY_RADIUS
    small = radius * (2 * torch.rand(_REPEATS, *images.shape, generator=generator) - 1)
    rows = {
        "deletion_auc": curves.deletion_auc,
        "insertion_auc": curves.insertion_auc,
        "gain": curves.gain,
        "road": road(classifier, images, maps, chosen, task=task),
        "infidelity": _of_pairs(infidelity(classifier, images, maps, noise, normalise=True), chosen),
        "max_sensitivity": _of_pairs(max_sensitivity(explainer, classifier, images, small, original=maps), chosen),
    }
    return means_by_patient(np.stack(list(rows.values()), axis=1), tuple(rows), owner)


def _other_models(
    compared: Compared, chosen: Bool[Tensor, "B L"], owner: Shaped[np.ndarray, " P"]
) -> dict[str, MetricValue]:
    maps = compared.explanation.maps
    cascade = randomisation_cascade(
        compared.explainer,
        compared.classifier,
        compared.images,
        chosen,
        steps=_CASCADE_STEPS,
        seed=compared.seed,
        original=maps,
        random=compared.random,
    )
    rows = {
        f"{share:.0%} of the layers random": values
        for share, values in zip(cascade.randomised, cascade.spearman, strict=True)
    }
    if compared.permuted is not None:
        pair = (part[chosen].cpu().numpy() for part in (maps, compared.permuted))
        rows["trained on permuted labels"] = alikeness(*pair)
    return {name: _mean_of_known(values, owner) for name, values in rows.items()}


def _places(
    compared: Compared,
    chosen: Bool[Tensor, "B L"],
    references: Bool[np.ndarray, "B L *space"],
    called: Bool[np.ndarray, "B L"] | None,
    owner: Shaped[np.ndarray, " P"],
) -> dict[str, LocalisationScores]:
    pairs = chosen.cpu().numpy()
    explained, others = (part[chosen].cpu().numpy() for part in (compared.explanation.maps, compared.random))
    regions = references[pairs]
    centre = np.broadcast_to(centre_map(regions.shape[1:]), regions.shape)
    patients = [str(name) for name in owner]
    found = {"these maps": localise(explained, regions, patients=patients)}
    if called is not None:
        kept = called[pairs]
        right = [name for name, there in zip(patients, kept, strict=True) if there]
        found["where the model calls the finding"] = localise(explained[kept], regions[kept], patients=right)
    found["always the centre"] = localise(centre, regions, patients=patients)
    found["random weights"] = localise(others, regions, patients=patients)
    return found


def _of_pairs(values: Float[Tensor, "B L"], chosen: Bool[Tensor, "B L"]) -> Float[np.ndarray, " P"]:
    return values[chosen].double().cpu().numpy()


def _mean_of_known(values: Float[np.ndarray, " P"], owner: Shaped[np.ndarray, " P"]) -> MetricValue:
    known = np.isfinite(values)
    if not known.any():
        return MetricValue.undefined("every map is the same everywhere", 0)
    return means_by_patient(values[known][:, None], ("mean",), owner[known])["mean"]
