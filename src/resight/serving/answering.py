"""One model's answer to one study: read, predict, explain, write the objects, and keep everything or nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from resight.errors import ImageError
from resight.findings import Finding as FoundFinding
from resight.findings import FoundImage, FoundStudy, FoundVolume, source_dataset, write_objects
from resight.findings.base import as_bytes, urgency
from resight.imaging import ReadingEndedError, Sandbox
from resight.imaging.geometry import as_stored, axes_of
from resight.models.checksums import sha256
from resight.serving.audit_trail import append
from resight.serving.batching import Answer
from resight.serving.current import current_predictions
from resight.serving.models import LoadedModel
from resight.serving.pictures import read_image
from resight.serving.routing import why_refused
from resight.serving.schema import Delivery, Finding, Instance, Prediction, ResultObject, Study
from resight.serving.service import Service
from resight.types import Image

_LONGEST_SIDE_PX: Final = 1024
"""Of pictures with an overlay."""
_EXPLAINED: Final = 3
"""Most labels of one image whose evidence goes into its objects."""


@dataclass(frozen=True)
class State:
    """State of a study with its reason, and whether another try may change it."""

    name: str
    reason: str = ""
    again: bool = False


@dataclass(frozen=True)
class _Looked:
    """One image as it went through: its instances, what it looked like, what the model said, if asking again helps."""

    instances: tuple[Instance, ...]
    image: Image | None
    answer: Answer
    again: bool = False


class Answering:
    """Asks models and keeps what they say.

    Args:
        service: database and folders.
        sandbox: reads images.
    """

    def __init__(self, service: Service, sandbox: Sandbox) -> None:
        self._service, self._sandbox = service, sandbox

    def answer(self, study: Study, model: LoadedModel, images: list[Instance]) -> State:
        """Read the images, predict, explain, write the objects, and keep all of it in one transaction.

        Raises:
            ResightError: the model or an object failed.
            OSError: a file cannot be written.
            SQLAlchemyError: the database is away.
        """
        uids = sorted(one.sop_uid for one in images)
        key = hashlib.sha256(
            "\0".join([study.study_uid, model.identity.version, model.entry.name, *uids]).encode()
        ).hexdigest()
        with self._service.store.read() as session:
            if session.scalar(select(Prediction.id).where(Prediction.key == key)) is not None:
                return State("done")
            before = _before(session.get_one(Study, study.id), model)
            reported = before is not None and any(one.kind == "sr" for one in before.objects)
        begun = time.monotonic()
        looked = self._look(model, images)
        refused = {id(one): bad for one in looked if (bad := why_refused(model.entry, one.answer.alerts))}
        usable = [one for one in looked if not one.answer.error and id(one) not in refused]
        problems = sorted({one.answer.error or refused[id(one)] for one in looked if one not in usable})
        if not usable:
            everything_refused = all(id(one) in refused for one in looked)
            again = any(one.again for one in looked)
            return State("refused" if everything_refused else "failed", "; ".join(problems), again)
        found = FoundStudy(
            key=key,
            model=model.identity,
            images=tuple(self._found(model, one) for one in usable),
            operating_point=model.operating_point,
            calibrated=model.predictor.manifest.calibration is not None,
            site=self._service.settings.site,
            supersedes=before.key if before is not None and reported else None,
        )
        folder = self._service.folder / "results" / key
        written = write_objects(found, model.entry.objects, folder)
        files = {one.sop_uid: (one.kind, one.path) for one in written}
        with self._service.store.write() as session:
            self._record(session, study.id, model, found, looked, refused, files, time.monotonic() - begun, before)
        left_out = f"{len(looked) - len(usable)} of {len(looked)} images were left out: {'; '.join(problems)}"
        return State("done", left_out if problems else "")

    def _look(self, model: LoadedModel, images: list[Instance]) -> list[_Looked]:
        groups: list[tuple[Instance, ...]] = [(one,) for one in images]
        if model.predictor.manifest.dims == 3:
            series = dict.fromkeys(one.series_uid for one in images)
            groups = [tuple(one for one in images if one.series_uid == uid) for uid in series]
        voi = model.predictor.manifest.recipe.voi
        read: list[tuple[tuple[Instance, ...], Image | ImageError]] = []
        for group in groups:
            try:
                read.append((group, read_image(self._sandbox, self._service.folder, group, voi)))
            except ImageError as error:
                read.append((group, error))
        images_read = [image for _, image in read if isinstance(image, Image)]
        answers = iter(model.batcher.predict(images_read, model.operating_point))
        return [
            _Looked(group, image, next(answers))
            if isinstance(image, Image)
            else _Looked(group, None, Answer(error=image.found), isinstance(image, ReadingEndedError))
            for group, image in read
        ]

    def _found(self, model: LoadedModel, looked: _Looked) -> FoundImage:
        answer, point, labels = looked.answer, model.operating_point, model.predictor.manifest.labels
        numbers = answer.scores if answer.probabilities is None else answer.probabilities
        findings = tuple(
            FoundFinding(
                label,
                numbers[i],
                model.threshold(label, point),
                None if answer.decisions is None else answer.decisions[i],
            )
            for i, label in enumerate(labels)
        )
        sources = tuple(
            source_dataset(i.header["texts"], i.header["numbers"], i.header["transfer_syntax"])
            for i in looked.instances
        )
        return _with_evidence(FoundImage(sources, findings, answer.alerts), model, looked.image)

    def _record(
        self,
        session: Session,
        study_pk: int,
        model: LoadedModel,
        found: FoundStudy,
        looked: list[_Looked],
        refused: Mapping[int, str],
        files: Mapping[str, tuple[str, Path]],
        seconds: float,
        before: Prediction | None,
    ) -> None:
        """Prediction, findings, objects and deliveries in one transaction with their entry in the audit trail."""
        highest = max(finding.probability for image in found.images for finding in image.findings)
        prediction = Prediction(
            study_pk=study_pk,
            model_pk=model.pk,
            key=found.key,
            operating_point=found.operating_point,
            calibrated=found.calibrated,
            risk=highest,
            alerts={one.instances[0].sop_uid: list(one.answer.alerts) for one in looked if one.answer.alerts},
            seconds=round(seconds, 3),
        )
        session.add(prediction)
        session.flush()
        rows = [row for one in looked for row in self._rows(model, prediction, one, refused.get(id(one), ""))]
        objects = [
            ResultObject(
                prediction_pk=prediction.id,
                kind=kind,
                sop_uid=uid,
                file=path.relative_to(self._service.folder).as_posix(),
                sha256=sha256(path),
            )
            for uid, (kind, path) in files.items()
        ]
        session.add_all([*rows, *objects])
        session.flush()
        names = [destination.name for destination in self._service.settings.destinations]
        session.add_all(Delivery(object_pk=one.id, destination=name) for one in objects for name in names)
        details = {
            "model": model.entry.name,
            "version": model.identity.version,
            "operating_point": found.operating_point,
            "supersedes": None if before is None else before.id,
        }
        append(
            session,
            "prediction made",
            actor="service",
            subject=f"study {study_pk}",
            details=details,
            rows=[prediction, *rows, *objects],
        )

    def _rows(self, model: LoadedModel, prediction: Prediction, looked: _Looked, refusal: str) -> list[Finding]:
        answer, point = looked.answer, model.operating_point
        return [
            Finding(
                prediction_pk=prediction.id,
                instance_pk=looked.instances[0].id,
                label=label,
                logit=answer.logits[i] if answer.logits else None,
                score=answer.scores[i] if answer.scores else None,
                probability=None if answer.probabilities is None else answer.probabilities[i],
                threshold=model.threshold(label, point),
                # a refused image has numbers, for those who ask why, and no decision
                decision=None if answer.decisions is None or refusal else answer.decisions[i],
                error=answer.error or refusal,
            )
            for i, label in enumerate(model.predictor.manifest.labels)
        ]


def _with_evidence(found: FoundImage, model: LoadedModel, image: Image | None) -> FoundImage:
    """Add what the objects show of the evidence: all of it for a volume, a picture and maps of it for an image."""
    if image is None or not {"sc", "gsps", "pm"} & set(model.entry.objects):
        return found
    evidence = model.evidence(image)
    if image.pixels.ndim == 4:
        if evidence is None:
            return found
        stored = as_stored(image)
        volume = FoundVolume(stored.pixels, evidence.turned(axes_of(image)), stored.spacing_mm, stored.affine)
        return replace(found, volume=volume)
    height, width = image.pixels.shape[1:]
    factor = min(1.0, _LONGEST_SIDE_PX / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    picture = as_bytes(image.pixels)
    if factor < 1:
        picture = np.stack(
            [np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA)) for plane in picture]
        )
    maps = {}
    if evidence is not None:
        urgent = sorted(found.findings, key=urgency, reverse=True)[:_EXPLAINED]
        maps = {one.label: evidence.on(size).plane(one.label) for one in urgent}
    return replace(found, picture=picture, maps=maps, turned=bool(image.attributes.get("turned", 0)))


def _before(study: Study, model: LoadedModel) -> Prediction | None:
    """The answer of the same model, of whatever version, that a new one takes the place of."""
    return next((one for one in current_predictions(study) if one.model.name == model.entry.name), None)
