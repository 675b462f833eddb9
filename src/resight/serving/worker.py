"""From a quiet study to its results: route, read, predict, explain, write; all of it or nothing, and tried again."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from resight.errors import ImageError, ResightError
from resight.findings import Finding as FoundFinding
from resight.findings import FoundImage, FoundStudy, source_dataset, write_objects
from resight.imaging import ReadingEndedError, Sandbox
from resight.models.checksums import sha256
from resight.serving.audit_trail import append
from resight.serving.batching import Answer
from resight.serving.current import current_predictions, is_current
from resight.serving.intake import Intake
from resight.serving.models import LoadedModel, Models
from resight.serving.rounds import Rounds, place_of_error
from resight.serving.routing import fits, why_nobody_answers, why_refused
from resight.serving.row import now
from resight.serving.schema import Delivery, Finding, Instance, Prediction, ResultObject, Study
from resight.serving.service import Service
from resight.serving.settings import ModelEntry
from resight.types import Image

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_EXPORT_S: Final = 10.0
_FIRST_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 600.0
_EXPLAINED: Final = 3
"""Most labels of one image whose evidence is computed."""


@dataclass(frozen=True)
class _Looked:
    """One image as it went through: its instances, what it looked like, what the model said, if asking again helps."""

    instances: tuple[Instance, ...]
    image: Image | None
    answer: Answer
    again: bool = False


@dataclass(frozen=True)
class _State:
    """State of a study with its reason, and whether another try may change it."""

    name: str
    reason: str = ""
    again: bool = False


class Worker(Rounds):
    """One thread that works through the studies in order of arrival; a context manager that ends it.

    Args:
        service: database and folders.
        intake: knows when instances came.
        models: answer.
        sandbox: reads images.
    """

    def __init__(self, service: Service, intake: Intake, models: Models, sandbox: Sandbox) -> None:
        super().__init__(service.stopping, "worker", _TICK_S)
        self._service, self._intake, self._models, self._sandbox = service, intake, models, sandbox
        self._started = time.monotonic()
        self._exported = 0.0

    def round(self) -> None:
        """Work through all studies that are complete."""
        self.settle()
        while not self._service.stopping.is_set() and (study := self.next_study()) is not None:
            self.process(study)
        if time.monotonic() - self._exported > _EXPORT_S:
            self._exported = time.monotonic()
            self._service.export_head()

    def settle(self) -> None:
        """Call those studies complete to which nothing came for the quiet time, by the clock that never jumps."""
        with self._service.store.read() as session:
            waiting = list(session.scalars(select(Study.id).where(Study.state == "receiving")))
        moment, settings = time.monotonic(), self._service.settings
        for key in waiting:
            # what was coming in when the service ended goes on when its sender tries again
            arrived = self._intake.arrivals.get(key)
            quiet_s = max(settings.quiet_s, settings.quiet_after_start_s) if arrived is None else settings.quiet_s
            if moment - (self._started if arrived is None else arrived) < quiet_s:
                continue
            with self._service.store.write() as session:
                if self._intake.arrivals.get(key) != arrived:
                    continue  # one came since that was looked at
                study = session.get_one(Study, key)
                study.state, study.attempts, study.next_attempt_at = "queued", 0, None
                append(
                    session,
                    "study received",
                    actor=study.source or "service",
                    subject=f"study {key}",
                    details={"instances": len(study.instances)},
                    rows=[study, *study.instances],
                )
            self._intake.forget(key, arrived)

    def next_study(self) -> int | None:
        """The study that has waited longest; failed ones when their time has come."""
        moment = now()
        # a time further away than any wait was written before the clock was set back
        due = or_(
            Study.next_attempt_at <= moment, Study.next_attempt_at > moment + timedelta(seconds=2 * _LONGEST_WAIT_S)
        )
        ready = or_(Study.state == "queued", (Study.state == "failed") & due)
        with self._service.store.read() as session:
            return session.scalar(select(Study.id).where(ready).order_by(Study.state.desc(), Study.id).limit(1))

    def process(self, key: int) -> None:
        """Work on one study until it is in a state that the worklist can show."""
        with self._service.store.read() as session:
            study = session.get_one(Study, key)
            instances = list(study.instances)
        routed = [(entry, [one for one in instances if fits(entry, one)]) for entry in self._models.entries()]
        if not any(images for _, images in routed):
            self._put(study, _State("refused", why_nobody_answers(instances)))
            return
        states = [self._try_answer(study, entry, images) for entry, images in routed if images]
        order = ("held", "failed", "done", "refused")
        self._put(study, min(states, key=lambda state: (order.index(state.name), not state.again)))

    def _try_answer(self, study: Study, entry: ModelEntry, images: list[Instance]) -> _State:
        model = self._models.current(entry.name)
        if model is None:
            problem = self._models.problems.get(entry.name, "")
            return _State("held", f"the model {entry.name} is not in service: {problem}")
        try:
            return self._answer(study, model, images)
        except ResightError as error:
            return _State("failed", error.found, again=True)
        except (OSError, SQLAlchemyError) as error:
            return _State("failed", f"results could not be kept ({type(error).__name__})", again=True)
        except Exception as error:  # noqa: BLE001 - one study must not keep the others waiting
            found = f"an error that was not foreseen ({type(error).__name__} at {place_of_error(error)})"
            return _State("failed", found, again=True)

    def _answer(self, study: Study, model: LoadedModel, images: list[Instance]) -> _State:
        uids = sorted(one.sop_uid for one in images)
        key = hashlib.sha256(
            "\0".join([study.study_uid, model.identity.version, model.entry.name, *uids]).encode()
        ).hexdigest()
        with self._service.store.read() as session:
            if session.scalar(select(Prediction.id).where(Prediction.key == key)) is not None:
                return _State("done")
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
            return _State("refused" if everything_refused else "failed", "; ".join(problems), again)
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
        return _State("done", left_out if problems else "")

    def _look(self, model: LoadedModel, images: list[Instance]) -> list[_Looked]:
        groups: list[tuple[Instance, ...]] = [(one,) for one in images]
        if model.predictor.manifest.dims == 3:
            series = dict.fromkeys(one.series_uid for one in images)
            groups = [tuple(one for one in images if one.series_uid == uid) for uid in series]
        read: list[tuple[tuple[Instance, ...], Image | ImageError]] = []
        for group in groups:
            try:
                read.append((group, self._read(model, group)))
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

    def _read(self, model: LoadedModel, group: tuple[Instance, ...]) -> Image:
        voi = model.predictor.manifest.recipe.voi
        paths = [self._service.folder / one.file for one in group]
        if len(group) == 1:
            return self._sandbox.image(paths[0], voi)
        with tempfile.TemporaryDirectory(dir=self._service.folder / "incoming") as folder:
            for path in paths:
                (Path(folder) / path.name).hardlink_to(path)
            return self._sandbox.image(Path(folder), voi)

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
        image = looked.image
        wants_picture = {"sc", "gsps", "pm"} & set(model.entry.objects)
        if image is None or image.pixels.ndim != 3 or not wants_picture:
            return FoundImage(sources, findings, answer.alerts)
        urgent = sorted(findings, key=lambda f: f.probability - (f.threshold or 0.0), reverse=True)
        picture, maps = model.evidence(image, tuple(f.label for f in urgent[:_EXPLAINED]))
        turned = bool(image.attributes.get("turned", 0))
        return FoundImage(sources, findings, answer.alerts, picture, maps, turned)

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

    def _put(self, study: Study, state: _State) -> None:
        with self._service.store.write() as session:
            row = session.get_one(Study, study.id)
            if row.state == "receiving":
                return  # more has come in the meantime; it will be looked at again
            row.attempts += 1
            of_study = select(func.max(Prediction.risk)).where(Prediction.study_pk == row.id, is_current())
            row.risk = session.scalar(of_study)
            row.state, row.reason, row.next_attempt_at = state.name, state.reason, None
            if state.again and row.attempts < self._service.settings.limits.attempts:
                wait_s = min(_FIRST_WAIT_S * 2 ** (row.attempts - 1), _LONGEST_WAIT_S)
                row.next_attempt_at = now() + timedelta(seconds=wait_s)
            details = {"state": state.name, "reason": state.reason}
            append(
                session, "study worked on", actor="service", subject=f"study {study.id}", details=details, rows=[row]
            )
        if state.name != "done":
            _log.warning("study %d is %s: %s", study.id, state.name, state.reason)


def _before(study: Study, model: LoadedModel) -> Prediction | None:
    """The answer of the same model, of whatever version, that a new one takes the place of."""
    return next((one for one in current_predictions(study) if one.model.name == model.entry.name), None)


def clear_incoming(service: Service) -> None:
    """Remove what was being received when the service was killed; nobody was told that it had arrived."""
    for left in (service.folder / "incoming").iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
