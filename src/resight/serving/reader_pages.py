"""Pages of reader studies: laying one out, reading its cases in the planned order, and fetching the readings."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from resight.errors import DataError, ResightError
from resight.serving import reader_studies
from resight.serving.access import Admin, Reader, TheParts, TheService
from resight.serving.accounts import Principal
from resight.serving.audit_trail import append
from resight.serving.current import current_predictions
from resight.serving.pages import Key, render
from resight.serving.people import ReaderReading, ReaderStudy, User
from resight.serving.pictures import images_of
from resight.serving.row import now
from resight.serving.schema import Model, Study
from resight.serving.service import Service
from resight.serving.study_view import age_words, date_words, model_view, present_labels
from resight.teaming import AIDED

router = APIRouter(prefix="/reader-studies", include_in_schema=False)

_SUMMARIES: Final = select(Model.summary).where(Model.active)
_OFFERED: Final = 100
"""Newest studies to choose cases from; older ones are given by number."""
_REFERENCES: Final = {"": None, "0": 0, "1": 1}


@router.get("")
def overview(request: Request, service: TheService, caller: Reader) -> HTMLResponse:
    """All reader studies, with what the person has to read in each."""
    return _overview(request, service, caller)


@router.post("")
def begin(
    request: Request,
    service: TheService,
    caller: Admin,
    name: Annotated[str, Form(max_length=100)],
    label: Annotated[str, Form(max_length=200)],
    cases: Annotated[str, Form(max_length=200_000)] = "",
    case: Annotated[list[str] | None, Form()] = None,
    readers: Annotated[list[str] | None, Form()] = None,
    washout_days: Annotated[int, Form(ge=1, le=3650)] = 28,
    seed: Annotated[int, Form(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """Lay a reader study out."""
    try:
        references = parse_cases("\n".join([*(case or []), cases]))
        with service.store.write() as session:
            reader_studies.create(
                session,
                name.strip(),
                label.strip(),
                references,
                readers or [],
                washout_days=washout_days,
                seed=seed,
                by=caller.actor,
            )
    except ResightError as error:
        return _overview(request, service, caller, message=f"{error}.", status=422)
    return RedirectResponse("/reader-studies", 303)


@router.post("/{key}/close")
def close(service: TheService, caller: Admin, key: Key) -> Response:
    """End a reader study."""
    with service.store.write() as session:
        reader_studies.close(session, _open_study(session, key), by=caller.actor)
    return RedirectResponse("/reader-studies", 303)


@router.get("/{key}/readings.csv")
def export(service: TheService, caller: Admin, key: Key) -> Response:
    """The readings as the table that `resight readerstudy analyse` reads."""
    with service.store.write() as session:
        study = _study(session, key)
        table = reader_studies.readings_table(session, study)
        details = {"rows": len(table)}
        append(session, "readings exported", actor=caller.actor, subject=f"reader study {key}", details=details)
    given = {"Content-Disposition": f'attachment; filename="readings-{key}.csv"'}
    return Response(table.to_csv(index=False), media_type="text/csv", headers=given)


@router.get("/{key}/read")
def case_page(request: Request, parts: TheParts, caller: Reader, key: Key) -> Response:
    """The next case of a reader, without the model in the first arm and with it in the second."""
    with parts.service.store.write() as session:
        study = _open_study(session, key)
        reading = _next(session, study, caller)
        if reading is None or not reader_studies.may_read(session, study, reading):
            return RedirectResponse("/reader-studies", 303)
        reader_studies.show(session, reading, by=caller.actor)
        case = reading.case.study
        places = {one.id: number for number, image in enumerate(images_of(case)) for one in image}
        views = []
        if reading.arm == AIDED:
            found = [model_view(one, parts.models, places, (), None) for one in current_predictions(case)]
            views = [(view, one) for view in found for one in view.labels if one.finding.label == study.label]
        made, planned = _counts(session, study, reading)
        return render(
            request,
            "reader_case.html",
            person=caller,
            reader_study=study,
            reading=reading,
            study=case,
            images=images_of(case),
            views=views,
            made=made,
            planned=planned,
        )


@router.post("/{key}/read")
def answer(
    service: TheService,
    caller: Reader,
    key: Key,
    reading: Annotated[int, Form()],
    confidence: Annotated[float, Form(ge=0, le=100)],
    seconds: Annotated[float | None, Form(ge=0, le=1e6)] = None,
) -> Response:
    """Keep a reading and go to the next case."""
    with service.store.write() as session:
        study = _open_study(session, key)
        expected = _next(session, study, caller)
        if expected is None or expected.id != reading or not reader_studies.may_read(session, study, expected):
            raise HTTPException(409, "another case is to be read now; go back to the reader study")
        try:
            reader_studies.answer(session, expected, confidence, seconds, by=caller.actor)
        except DataError as error:
            raise HTTPException(409, error.found) from None
    return RedirectResponse(f"/reader-studies/{key}/read", 303)


def parse_cases(text: str) -> dict[int, int | None]:
    """Lines `number` or `number,reference` with 1 for present and 0 for absent.

    Raises:
        DataError: a line says something else, or names a study twice.
    """
    found: dict[int, int | None] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        number, _, reference = (part.strip() for part in line.partition(","))
        if not (number.isascii() and number.isdigit() and len(number) < 10) or reference not in _REFERENCES:
            expected = "number of a study, or number,1 for present or number,0 for absent"
            raise DataError(f"the case {line[:40]!r}", where="cases", expected=expected)
        if int(number) in found:
            raise DataError(f"study {number} twice", where="cases", expected="each once")
        found[int(number)] = _REFERENCES[reference]
    return found


def _overview(
    request: Request, service: Service, caller: Principal, *, message: str = "", status: int = 200
) -> HTMLResponse:
    with service.store.read() as session:
        studies = list(session.scalars(select(ReaderStudy).order_by(ReaderStudy.id.desc())))
        mine = {}
        for study in studies:
            reading = None if caller.user_pk is None else reader_studies.next_reading(session, study, caller.user_pk)
            if reading is not None and study.closed_at is None:
                begins = reader_studies.aided_from(session, study, reading.user_pk)
                mine[study.id] = (reading, begins, reader_studies.may_read(session, study, reading))
        offered = _offered(session) if caller.role == "admin" else []
        return render(
            request,
            "reader_studies.html",
            status=status,
            person=caller,
            message=message,
            studies=studies,
            mine=mine,
            progress={study.id: reader_studies.progress(session, study) for study in studies},
            readers=list(session.scalars(select(User.name).where(User.role == "reader", ~User.disabled))),
            labels=sorted({name for found in session.scalars(_SUMMARIES) for name in found.get("labels", ())}),
            offered=offered,
            present=present_labels(session, [one.id for one in offered]),
            date_words=date_words,
            moment=now(),
            age_words=age_words,
        )


def _offered(session: Session) -> list[Study]:
    """The newest studies that can be cases of a reader study."""
    return list(session.scalars(select(Study).where(Study.state == "done").order_by(Study.id.desc()).limit(_OFFERED)))


def _study(session: Session, key: int) -> ReaderStudy:
    study = session.get(ReaderStudy, key)
    if study is None:
        raise HTTPException(404, "there is no such reader study")
    return study


def _open_study(session: Session, key: int) -> ReaderStudy:
    study = _study(session, key)
    if study.closed_at is not None:
        raise HTTPException(409, "this reader study is closed")
    return study


def _next(session: Session, study: ReaderStudy, caller: Principal) -> ReaderReading | None:
    if caller.user_pk is None:
        raise HTTPException(403, "cases are read by people who signed in")
    return reader_studies.next_reading(session, study, caller.user_pk)


def _counts(session: Session, study: ReaderStudy, reading: ReaderReading) -> tuple[int, int]:
    counts = {(name, arm): (made, planned) for name, arm, made, planned in reader_studies.progress(session, study)}
    return counts[reading.user.name, reading.arm]
