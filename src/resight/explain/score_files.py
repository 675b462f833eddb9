"""Scores of explanations from files: a bundle, images, references, and a bundle trained on permuted labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool

from resight.errors import BundleError, ImageError
from resight.evaluation import decide
from resight.explain.base import Explainer
from resight.explain.references import References
from resight.explain.scores import MapScores, score_maps
from resight.imaging import read
from resight.models import Bundle, Predictor, named_sources
from resight.types import PreparedImage


def score_files(
    bundle: Bundle,
    paths: Iterable[Path],
    explainer: Explainer,
    method: str,
    *,
    references: References | None = None,
    control: Bundle | None = None,
    most: int = 64,
) -> MapScores:
    """Score an explainer on the first network of a bundle.

    Args:
        bundle: the model.
        paths: files, DICOM series, or folders of them; unreadable ones are left out.
        explainer: the method.
        method: its name.
        references: where findings are; only images that have one are scored, where there are any.
        control: a bundle of the same network on permuted labels.
        most: so many images at most, the first ones.

    Raises:
        ImageError: no image is left.
        BundleError: the control has other labels or another recipe.
        DataError: references that do not fit their images.
    """
    manifest = bundle.manifest
    if control is not None and (control.manifest.labels, control.manifest.recipe) != (manifest.labels, manifest.recipe):
        found = f"control {control.manifest.name!r} has other labels or another recipe"
        raise BundleError(found, where=manifest.name, fix="Give one that was trained with report.label_randomisation.")
    prepared: list[PreparedImage] = []
    regions: list[Bool[np.ndarray, "L *space"]] = []
    sources = list(named_sources(list(paths), relative=False))
    if references is not None:  # where no image has one, the rest can still be measured
        sources = [source for source in sources if references.names(str(source[0]))] or sources
    for name, path in sources:
        if len(prepared) == most:
            break
        try:
            image = read(Path(str(path)), voi=manifest.recipe.voi)
            prepared.append(manifest.recipe.apply(image))
        except ImageError:
            continue
        if references is not None:
            regions.append(references.on_prepared_grid(str(name), image, manifest.recipe, manifest.labels))
    if not prepared:
        raise ImageError("no image can be used", where="scores of explanations")
    stack = np.stack(prepared)
    return score_maps(
        explainer,
        bundle.members[0],
        torch.from_numpy(stack),
        method=method,
        references=np.stack(regions) if regions else None,
        called=_called(Predictor(bundle), stack),
        control=None if control is None else control.members[0],
        task=manifest.task,
    )


def _called(predictor: Predictor, prepared: np.ndarray) -> Bool[np.ndarray, "B L"] | None:
    """What the model calls at its first operating point; None where it has none."""
    manifest = predictor.manifest
    if manifest.calibration is None or not manifest.operating_points:
        return None
    probabilities = manifest.calibration.apply(predictor.logits(prepared))
    name = predictor.operating_points[0]
    return decide(probabilities, manifest.labels, manifest.operating_points, name) > 0
