"""Reader studies on the cases of the service: laid out, read one case after the other, exported for the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from resight.errors import DataError
from resight.serving.audit_trail import append
from resight.serving.people import ReaderCase, ReaderReading, ReaderStudy, User
from resight.serving.row import now
from resight.serving.schema import Study
from resight.settings import validate
from resight.teaming import AIDED, UNAIDED, StudyOptions, design_study

ARMS: Final = (UNAIDED, AIDED)


def create(
    session: Session,
    name: str,
    label: str,
    references: Mapping[int, int | None],
    readers: Sequence[str],
    *,
    washout_days: int,
    seed: int,
    by: str,
) -> ReaderStudy:
    """Lay a study out: every reader reads every case unaided, and aided after the wash-out, in orders of their own.

    Args:
        session: a writing session.
        name: of the study; no other has it.
        label: the finding that is read.
        references: reference standard by study, None where it is not known yet.
        readers: names of accounts with the role reader.
        washout_days: between the last unaided reading of a reader and the first aided one.
        seed: another seed gives other orders.
        by: who does it.

    Raises:
        DataError: the name is taken, an account is no reader, or a case is not there.
        PredictionsError: fewer than two cases.
        SettingsError: fewer than two readers.
    """
    if not name.strip() or not label.strip():
        raise DataError("a reader study without name or label")
    if session.scalar(select(ReaderStudy.id).where(ReaderStudy.name == name)):
        raise DataError(f"there is a reader study {name!r} already")
    given = {"readers": readers, "kind": "unaided_first", "washout_days": washout_days, "seed": seed}
    options = validate(StudyOptions, given, where="reader study")
    people = {user.name: user for user in session.scalars(select(User).where(User.role == "reader"))}
    if strangers := [reader for reader in readers if reader not in people]:
        raise DataError(f"no account {strangers[0]!r} with the role reader")
    if missing := set(references) - set(session.scalars(select(Study.id).where(Study.id.in_(references)))):
        raise DataError(f"no study {min(missing)}")
    plan = design_study([str(key) for key in references], [label], options)
    study = ReaderStudy(name=name, label=label, seed=seed, washout_days=float(washout_days))
    session.add(study)
    session.flush()
    cases = {
        str(key): ReaderCase(reader_study_pk=study.id, study_pk=key, reference=value)
        for key, value in references.items()
    }
    session.add_all(cases.values())
    session.flush()
    readings = [
        ReaderReading(case_pk=cases[image].id, user_pk=people[reader].id, arm=arm, place=int(order))
        for reader, arm, order, image in plan[["reader", "arm", "order", "image"]].itertuples(index=False)
    ]
    session.add_all(readings)
    session.flush()
    details = {"cases": len(cases), "readers": len(readers), "seed": seed, "washout_days": washout_days}
    rows = [study, *cases.values(), *readings]
    append(session, "reader study begun", actor=by, subject=f"reader study {study.id}", details=details, rows=rows)
    return study


def close(session: Session, study: ReaderStudy, *, by: str) -> None:
    """End a study: nobody reads in it any more, and its cases are shown with the model's answers again."""
    study.closed_at = now()
    append(session, "reader study closed", actor=by, subject=f"reader study {study.id}", rows=[study])


def next_reading(session: Session, study: ReaderStudy, user_pk: int) -> ReaderReading | None:
    """What a reader reads next: the unaided cases in their order, then the aided ones; None when all are read."""
    wanted = (
        _of_reader(study.id, user_pk)
        .where(ReaderReading.answered_at.is_(None))
        .order_by(ReaderReading.arm.desc(), ReaderReading.place)
    )
    return session.scalar(wanted.limit(1))


def aided_from(session: Session, study: ReaderStudy, user_pk: int) -> datetime | None:
    """When the wash-out of a reader ends; None before the last unaided reading."""
    unaided = _of_reader(study.id, user_pk).where(ReaderReading.arm == UNAIDED)
    answered = [one.answered_at for one in session.scalars(unaided)]
    known = [moment for moment in answered if moment is not None]
    return max(known) + timedelta(days=study.washout_days) if known and len(known) == len(answered) else None


def may_read(session: Session, study: ReaderStudy, reading: ReaderReading) -> bool:
    """Whether the wash-out lets a reading be made now."""
    if reading.arm == UNAIDED:
        return True
    begins = aided_from(session, study, reading.user_pk)
    return begins is not None and begins <= now()


def show(session: Session, reading: ReaderReading, *, by: str) -> None:
    """Note when a case was first shown."""
    if reading.shown_at is None:
        reading.shown_at = now()
        append(session, "reading shown", actor=by, subject=f"reading {reading.id}", rows=[reading])


def answer(session: Session, reading: ReaderReading, confidence: float, seconds: float | None, *, by: str) -> None:
    """Keep a reading; 50 and above means present.

    Args:
        session: a writing session.
        reading: that was shown.
        confidence: 0 surely absent to 100 surely present.
        seconds: for which the case was visible, as the browser counted; at most the time since it was first shown.
        by: who reads.

    Raises:
        DataError: it was not shown, or has an answer.
    """
    if reading.shown_at is None or reading.answered_at is not None:
        raise DataError("this reading was not shown, or has an answer already")
    moment = now()
    elapsed = (moment - reading.shown_at).total_seconds()
    reading.answered_at = moment
    reading.seconds = round(elapsed if seconds is None else min(max(seconds, 0.0), elapsed), 2)
    reading.confidence, reading.decision = confidence, int(confidence >= 50)
    append(
        session,
        "reading answered",
        actor=by,
        subject=f"reading {reading.id}",
        details={"arm": reading.arm, "seconds": reading.seconds},
        rows=[reading],
    )


def hidden_studies(user_pk: int | None) -> Any:
    """A query for the studies whose answers a reader must not see: cases of open reader studies still to be read."""
    return (
        select(ReaderCase.study_pk)
        .join(ReaderReading, ReaderReading.case_pk == ReaderCase.id)
        .join(ReaderStudy, ReaderStudy.id == ReaderCase.reader_study_pk)
        .where(ReaderReading.user_pk == user_pk, ReaderReading.answered_at.is_(None), ReaderStudy.closed_at.is_(None))
    )


def may_see_answer(session: Session, user_pk: int | None, study_pk: int) -> bool:
    """Whether a person may see what a model says of a study: always, but for unread cases of a reader study."""
    if session.scalar(hidden_studies(user_pk).where(ReaderCase.study_pk == study_pk).limit(1)) is None:
        return True
    shown = hidden_studies(user_pk).where(
        ReaderCase.study_pk == study_pk, ReaderReading.arm == AIDED, ReaderReading.shown_at.is_not(None)
    )
    return session.scalar(shown.limit(1)) is not None


def progress(session: Session, study: ReaderStudy) -> list[tuple[str, str, int, int]]:
    """Reader, arm, readings made and readings planned."""
    counts = (
        select(User.name, ReaderReading.arm, func.count(ReaderReading.answered_at), func.count())
        .join(ReaderReading.user)
        .join(ReaderReading.case)
        .where(ReaderCase.reader_study_pk == study.id)
        .group_by(User.name, ReaderReading.arm)
        .order_by(User.name, ReaderReading.arm.desc())
    )
    return [(name, arm, int(made), int(planned)) for name, arm, made, planned in session.execute(counts)]


def readings_table(session: Session, study: ReaderStudy) -> pd.DataFrame:
    """The table that `resight readerstudy analyse` reads, one row a reading; what was not read yet is empty.

    `image` is the Study Instance UID, `patient_id` a number that names nobody.
    """
    wanted = (
        select(ReaderReading, User.name, ReaderCase.reference, Study.study_uid, Study.patient_id)
        .join(ReaderReading.user)
        .join(ReaderReading.case)
        .join(ReaderCase.study)
        .where(ReaderCase.reader_study_pk == study.id)
        .order_by(User.name, ReaderReading.arm.desc(), ReaderReading.place)
    )
    patients: dict[str, int] = {}
    rows = [
        {
            "image": uid,
            "patient_id": patients.setdefault(patient or uid, len(patients) + 1),
            "label": study.label,
            "reader": name,
            "arm": reading.arm,
            "session": ARMS.index(reading.arm) + 1,
            "order": reading.place,
            "rating": reading.confidence,
            "decision": reading.decision,
            "target": reference,
            "seconds": reading.seconds,
        }
        for reading, name, reference, uid, patient in session.execute(wanted)
    ]
    return pd.DataFrame(rows)


def _of_reader(study_pk: int, user_pk: int) -> Any:
    return (
        select(ReaderReading)
        .join(ReaderReading.case)
        .where(ReaderCase.reader_study_pk == study_pk, ReaderReading.user_pk == user_pk)
    )
