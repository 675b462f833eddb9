"""Predictions for files that are uploaded and not kept; each read in the sandbox, so that a bad one harms no other."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.datastructures import UploadFile

from resight.errors import ImageError, ResightError
from resight.findings.base import RESEARCH_ONLY
from resight.models.checksums import sha256
from resight.serving.accounts import Principal
from resight.serving.batching import Answer
from resight.serving.models import LoadedModel
from resight.serving.parts import Parts
from resight.serving.results import ImageResult, LabelResult, ModelResult
from resight.serving.routing import why_refused
from resight.types import Image

_LONGEST_NAME: Final = 100


def predict_uploads(parts: Parts, files: Sequence[UploadFile], name: str | None, caller: Principal) -> ModelResult:
    """Read files, predict them together, and say in the audit trail that this was done.

    Args:
        parts: models and sandbox.
        files: as they were uploaded.
        name: of the model; the only one when not given.
        caller: who asks.

    Returns:
        One image for each file, in order.

    Raises:
        LookupError: there is no such model, or several and none was named.
        ResightError: the model is not in service, or there is no room on the disk.
    """
    model = _model(parts, name)
    with ThreadPoolExecutor(max(1, min(len(files), parts.service.settings.limits.parsers))) as pool:
        read = list(pool.map(lambda file: _read(parts, model, file), files))
    images = [image for image, _, _ in read if image is not None]
    answers = iter(model.batcher.predict(images, model.operating_point) if images else [])
    found = [next(answers) if image is not None else Answer(error=problem) for image, problem, _ in read]
    result = ModelResult(
        model=model.entry.name,
        version=model.identity.version,
        operating_point=model.operating_point,
        calibrated=model.predictor.manifest.calibration is not None,
        use=model.identity.clearance or RESEARCH_ONLY,
        images=[_result(model, file, answer) for file, answer in zip(files, found, strict=True)],
    )
    for image in result.images:
        parts.telemetry.images.labels(model.entry.name, "error" if image.error else "answered").inc()
    said = hashlib.sha256(result.model_dump_json().encode()).hexdigest()
    details = {"version": model.identity.version, "files": [digest for _, _, digest in read], "answer": said}
    parts.service.audit("files predicted", actor=caller.actor, subject=f"model {model.entry.name}", **details)
    return result


def _model(parts: Parts, name: str | None) -> LoadedModel:
    names = [entry.name for entry in parts.models.entries()]
    if name is None and len(names) != 1:
        raise LookupError("name the model: there are several, or none")
    chosen = name or names[0]
    if chosen not in names:
        raise LookupError("there is no such model")
    model = parts.models.current(chosen)
    if model is None:
        raise ResightError(f"the model {chosen} is not in service: {parts.models.problems.get(chosen, '')}")
    return model


def _read(parts: Parts, model: LoadedModel, file: UploadFile) -> tuple[Image | None, str, str]:
    """The image, or why there is none, and the digest of its bytes."""
    path = parts.intake.spool()
    try:
        with path.open("wb") as stream:
            shutil.copyfileobj(file.file, stream)
        digest = sha256(path)
        recipe = model.predictor.manifest.recipe
        try:
            return parts.sandbox.image(path, recipe.voi, max(recipe.size_px)), "", digest
        except ImageError as error:
            return None, error.found, digest
    finally:
        path.unlink(missing_ok=True)


def _result(model: LoadedModel, file: UploadFile, answer: Answer) -> ImageResult:
    refusal = why_refused(model.entry, answer.alerts)
    findings = [
        LabelResult(
            label=label,
            score=answer.scores[i],
            probability=None if answer.probabilities is None else answer.probabilities[i],
            threshold=model.threshold(label, model.operating_point),
            decision=None if answer.decisions is None or refusal else answer.decisions[i],
        )
        for i, label in enumerate(model.predictor.manifest.labels)
        if answer.scores
    ]
    name = "".join(letter for letter in (file.filename or "") if letter.isprintable())[:_LONGEST_NAME]
    return ImageResult(image=name, findings=findings, alerts=list(answer.alerts), error=answer.error or refusal)
