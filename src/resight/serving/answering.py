"""One model's answer to one study: read, predict, explain, write the objects, and keep everything or nothing.

However many images a study has, few are in memory: they are read a batch at a time, and drawn one at a time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from resight.errors import ImageError
from resight.findings import Finding as FoundFinding
from resight.findings import FoundImage, FoundStudy, FoundVolume, ObjectKind, WrittenObject, write_objects
from resight.findings.base import as_bytes, urgency
from resight.imaging import ReadingEndedError, Sandbox
from resight.imaging.geometry import as_stored, axes_of, frames_of
from resight.models.checksums import sha256
from resight.serving.audit_trail import append
from resight.serving.batching import Answer
from resight.serving.current import current_predictions
from resight.serving.models import LoadedModel
from resight.serving.pictures import read_image, source_of
from resight.serving.routing import why_refused
from resight.serving.schema import Delivery, Finding, Instance, Prediction, ResultObject, Study
from resight.serving.service import Service
from resight.types import Image

_LONGEST_SIDE_PX: Final = 1024
"""Of pictures with an overlay."""
_EXPLAINED: Final = 3
"""Most labels of one image whose evidence goes into its objects."""
_HELD_VALUES: Final = 64 * 2**20
"""Values of images that are kept between answering and drawing, 256 MB in floating point; others are read again."""


@dataclass(frozen=True)
class State:
    """State of a study with its reason, and whether another try may change it."""

    name: str
    reason: str = ""
    again: bool = False


@dataclass(frozen=True)
class _Looked:
    """One image as it went through.

    Attributes:
        instances: the image, or the slices of a volume.
        answer: what the model said.
        image: what it looked like; None where it could not be read or is not kept.
        refusal: why the sentinels refuse it; empty where they do not.
        again: whether reading it again may help.
    """

    instances: tuple[Instance, ...]
    answer: Answer
    image: Image | None = None
    refusal: str = ""
    again: bool = False

    @property
    def problem(self) -> str:
        """Why nothing is said of it; empty where something is."""
        return self.answer.error or self.refusal


class Answering:
    """Asks models and keeps what they say.

    Args:
        service: database and folders.
        sandbox: reads images.
    """

    def __init__(self, service: Service, sandbox: Sandbox) -> None:
        self._service, self._sandbox = service, sandbox
        self._batch = service.settings.limits.batch

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
        looked = list(self._look(model, images))
        usable = [one for one in looked if not one.problem]
        problems = sorted({one.problem for one in looked if one.problem})
        if not usable:
            everything_refused = all(one.refusal for one in looked)
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
        written = self._written(found, model, usable)
        with self._service.store.write() as session:
            self._record(session, study.id, model, found, looked, written, time.monotonic() - begun, before)
        left_out = f"{len(looked) - len(usable)} of {len(looked)} images were left out: {'; '.join(problems)}"
        return State("done", left_out if problems else "")

    def _look(self, model: LoadedModel, images: list[Instance]) -> Iterator[_Looked]:
        groups: list[tuple[Instance, ...]] = [(one,) for one in images]
        if model.predictor.manifest.dims == 3:
            series = dict.fromkeys(one.series_uid for one in images)
            groups = [tuple(one for one in images if one.series_uid == uid) for uid in series]
        waiting: list[tuple[tuple[Instance, ...], Image]] = []
        room = _HELD_VALUES
        for group in groups:
            try:
                waiting.append((group, self._read(model, group)))
            except ImageError as error:
                yield _Looked(group, Answer(error=error.found), again=isinstance(error, ReadingEndedError))
            held = sum(image.pixels.size for _, image in waiting)
            if not waiting or (len(waiting) < self._batch and held < _HELD_VALUES and group is not groups[-1]):
                continue
            answers = model.batcher.predict([image for _, image in waiting], model.operating_point)
            for (instances, image), answer in zip(waiting, answers, strict=True):
                kept = image if room > 0 else None
                room -= image.pixels.size
                yield _Looked(instances, answer, kept, refusal=why_refused(model.entry, answer.alerts))
            waiting.clear()

    def _read(self, model: LoadedModel, instances: Sequence[Instance]) -> Image:
        return read_image(self._sandbox, self._service.folder, instances, model.predictor.manifest.recipe.voi)

    def _written(self, found: FoundStudy, model: LoadedModel, looked: Sequence[_Looked]) -> list[WrittenObject]:
        """The objects as files: pictures and maps of the most urgent images, one image at a time, then the report."""
        folder = self._service.folder / "results" / found.key
        drawn: list[ObjectKind] = [kind for kind in model.entry.objects if kind != "sr"]
        reports: list[ObjectKind] = [kind for kind in model.entry.objects if kind == "sr"]
        pairs = list(zip(found.images, looked, strict=True))
        most = self._service.settings.limits.drawn_images
        urgent = sorted(range(len(pairs)), key=lambda i: -max(map(urgency, pairs[i][0].findings)))[:most]
        written: list[WrittenObject] = []
        for image, one in [pairs[i] for i in sorted(urgent)] if drawn else ():
            pixels = self._read(model, one.instances) if one.image is None else one.image
            shown = replace(found, images=(_with_evidence(image, model, pixels),))
            written += write_objects(shown, drawn, folder, after=written)
        return [*write_objects(found, reports, folder), *written]

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
        return FoundImage(tuple(map(source_of, looked.instances)), findings, answer.alerts)

    def _record(
        self,
        session: Session,
        study_pk: int,
        model: LoadedModel,
        found: FoundStudy,
        looked: Sequence[_Looked],
        written: Sequence[WrittenObject],
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
        rows = [row for one in looked for row in self._rows(model, prediction, one)]
        objects = [
            ResultObject(
                prediction_pk=prediction.id,
                kind=one.kind,
                sop_uid=one.sop_uid,
                file=one.path.relative_to(self._service.folder).as_posix(),
                sha256=sha256(one.path),
            )
            for one in written
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

    def _rows(self, model: LoadedModel, prediction: Prediction, looked: _Looked) -> list[Finding]:
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
                decision=None if answer.decisions is None or looked.refusal else answer.decisions[i],
                error=looked.problem,
            )
            for i, label in enumerate(model.predictor.manifest.labels)
        ]


def _with_evidence(found: FoundImage, model: LoadedModel, image: Image) -> FoundImage:
    """Add what the objects show of the evidence: all of it for a volume, a picture and maps of it for an image."""
    evidence = model.evidence(image)
    if image.pixels.ndim == 4:
        if evidence is None:
            return found
        stored = as_stored(image)
        placed = evidence.turned(axes_of(image))
        volume = FoundVolume(stored.pixels, placed, stored.spacing_mm, stored.affine, frames_of(image))
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
