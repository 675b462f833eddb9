"""From a quiet study to its state in the worklist: settled, routed, answered, and tried again where that may help."""

from __future__ import annotations

import logging
import shutil
import time
from datetime import timedelta
from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from resight.errors import ResightError
from resight.imaging import Sandbox
from resight.serving.answering import Answering, State
from resight.serving.audit_trail import append
from resight.serving.current import is_current
from resight.serving.intake import Intake
from resight.serving.models import Models
from resight.serving.rounds import Rounds, place_of_error
from resight.serving.routing import fits, why_nobody_answers
from resight.serving.row import now
from resight.serving.schema import Instance, Prediction, Study
from resight.serving.service import Service
from resight.serving.settings import ModelEntry

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_EXPORT_S: Final = 10.0
_FIRST_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 600.0


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
        self._service, self._intake, self._models = service, intake, models
        self._answering = Answering(service, sandbox)
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
            self._put(study, State("refused", why_nobody_answers(instances)))
            return
        states = [self._try_answer(study, entry, images) for entry, images in routed if images]
        order = ("held", "failed", "done", "refused")
        self._put(study, min(states, key=lambda state: (order.index(state.name), not state.again)))

    def _try_answer(self, study: Study, entry: ModelEntry, images: list[Instance]) -> State:
        model = self._models.current(entry.name)
        if model is None:
            problem = self._models.problems.get(entry.name, "")
            return State("held", f"the model {entry.name} is not in service: {problem}")
        try:
            return self._answering.answer(study, model, images)
        except ResightError as error:
            return State("failed", error.found, again=True)
        except (OSError, SQLAlchemyError) as error:
            return State("failed", f"results could not be kept ({type(error).__name__})", again=True)
        except Exception as error:  # noqa: BLE001 - one study must not keep the others waiting
            found = f"an error that was not foreseen ({type(error).__name__} at {place_of_error(error)})"
            return State("failed", found, again=True)

    def _put(self, study: Study, state: State) -> None:
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


def clear_incoming(service: Service) -> None:
    """Remove what was being received when the service was killed; nobody was told that it had arrived."""
    for left in (service.folder / "incoming").iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
