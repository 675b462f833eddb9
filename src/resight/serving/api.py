"""REST: predictions for uploaded files, the worklist, results and their objects, models, the audit trail."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from resight.errors import ResightError
from resight.serving.access import CSRF_FIELD, Admin, AnyCaller, Principal, Reader, Sender, TheParts, TheService
from resight.serving.audit_trail import append, head
from resight.serving.reader_studies import hidden_studies, may_see_answer
from resight.serving.results import ModelResult, StudyResult, StudyRow, study_result, study_row
from resight.serving.schema import AuditEntry, Model, ResultObject, Study
from resight.serving.uploads import predict_uploads

router = APIRouter(prefix="/api")

RETRY_AFTER_S: Final = 2
_MOST_FILES: Final = 64
_UID: Final = r"^[0-9.]{1,64}$"
_CSRF_SHAPE: Final = r"^[A-Za-z0-9_-]{43}$"
"""What `secrets.token_urlsafe(32)` gives."""
StudyUID = Annotated[str, Path(pattern=_UID, description="Study Instance UID")]
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "nobody is signed in"},
    403: {"description": "the role may not do this, or the CSRF token is missing"},
}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {**_REFUSALS, 404: {"description": "there is no such thing"}}
_FIELDS: Final = frozenset({"files", "model", CSRF_FIELD})
_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": _MOST_FILES,
                            "items": {"type": "string", "format": "binary"},
                        },
                        "model": {"type": "string", "description": "name of a model; the only one when not given"},
                        CSRF_FIELD: {
                            "type": "string",
                            "pattern": _CSRF_SHAPE,
                            "description": "for browsers that send no X-CSRF-Token",
                        },
                    },
                }
            }
        },
    }
}


class ModelRow(BaseModel):
    """One version of a model that is or was in service."""

    name: str
    version: str
    engine: str
    active: bool
    loaded_at: str
    retired_at: str | None
    summary: dict[str, Any] = Field(description="labels, task, operating points, intended use, limits")


class AuditRow(BaseModel):
    """One entry of the audit trail."""

    sequence: int
    at: str
    actor: str
    action: str
    subject: str
    details: str
    hash: str


@router.post(
    "/predict",
    response_model=ModelResult,
    responses={
        **_REFUSALS,
        400: {"description": "no files, too many, an unknown field, or no form"},
        404: {"description": "there is no such model"},
        413: {"description": "the files are larger than the service takes"},
        422: {"description": "a field is not what it should be"},
        503: {"description": "too much to do, or the model is not in service; see Retry-After"},
    },
    openapi_extra=_FORM,
)
async def predict(request: Request, parts: TheParts, caller: Sender) -> Response:
    """Predict uploaded files at once: DICOM, PNG, JPEG, TIFF or BMP. They are not kept.

    A file that cannot be used becomes an image with its error, and the others are answered. For studies that are kept,
    reported and sent on, use STOW-RS or C-STORE.
    """
    if not parts.slots.acquire(blocking=False):
        return busy("too many requests for predictions at once")
    parts.telemetry.in_flight.inc()
    try:
        form = await request.form(max_files=_MOST_FILES, max_fields=8)
        try:
            files = [value for value in form.getlist("files") if not isinstance(value, str)]
            name = form.get("model")
            if unknown := sorted(set(form) - _FIELDS):
                raise HTTPException(400, f"{len(unknown)} unknown fields: there are `files` and `model`")
            if CSRF_FIELD in form and not re.match(_CSRF_SHAPE, str(form[CSRF_FIELD])):
                raise HTTPException(400, f"{CSRF_FIELD} is no token of this service")
            if not files:
                raise HTTPException(400, "no files: give them as fields named `files`")
            try:
                answer = await run_in_threadpool(predict_uploads, parts, files, str(name) if name else None, caller)
            except LookupError as error:
                raise HTTPException(404, str(error.args[0])) from None
            except ResightError as error:
                return busy(error.found)
        finally:
            await form.close()
        return JSONResponse(answer.model_dump())
    finally:
        parts.telemetry.in_flight.dec()
        parts.slots.release()


@router.get("/studies", responses=_REFUSALS)
def worklist(
    service: TheService,
    caller: Reader,
    state: Annotated[str | None, Query(max_length=20, description="only studies in this state")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> list[StudyRow]:
    """Studies by risk, highest first; those without one last."""
    wanted = select(Study).where(Study.id.not_in(hidden_studies(caller.user_pk)))
    wanted = wanted.order_by(Study.risk.is_(None), Study.risk.desc(), Study.id.desc())
    if state is not None:
        wanted = wanted.where(Study.state == state)
    with service.store.write() as session:
        rows = [study_row(study) for study in session.scalars(wanted.limit(limit).offset(offset))]
        append(session, "worklist viewed", actor=caller.actor, details={"rows": len(rows)})
    return rows


@router.get("/studies/{study_uid}", responses=_NOT_FOUND)
def results(service: TheService, caller: AnyCaller, study_uid: StudyUID) -> StudyResult:
    """State, findings and objects of one study."""
    with service.store.write() as session:
        study = _readable(session, caller, study_uid)
        append(session, "study viewed", actor=caller.actor, subject=f"study {study.id}")
        return study_result(session, study)


@router.get("/studies/{study_uid}/objects/{sop_uid}", responses=_NOT_FOUND, response_class=FileResponse)
def result_object(
    service: TheService,
    caller: AnyCaller,
    study_uid: StudyUID,
    sop_uid: Annotated[str, Path(pattern=_UID, description="SOP Instance UID")],
) -> FileResponse:
    """One result as a DICOM file."""
    with service.store.write() as session:
        study = _readable(session, caller, study_uid)
        found = session.scalar(select(ResultObject).where(ResultObject.sop_uid == sop_uid))
        if found is None or found.prediction.study_pk != study.id:
            raise HTTPException(404, "there is no such object")
        append(session, "result fetched", actor=caller.actor, subject=f"study {study.id}", details={"kind": found.kind})
    return FileResponse(service.folder / found.file, media_type="application/dicom", filename=f"{sop_uid}.dcm")


@router.post("/studies/{study_uid}/retry", status_code=202, responses=_NOT_FOUND)
def retry(service: TheService, caller: Admin, study_uid: StudyUID) -> StudyRow:
    """Work on a study again."""
    with service.store.write() as session:
        study = _study(session, study_uid)
        if study.state != "receiving":
            study.state, study.reason, study.attempts, study.next_attempt_at = "queued", "", 0, None
        append(session, "study queued again", actor=caller.actor, subject=f"study {study.id}", rows=[study])
        return study_row(study)


@router.get("/models", responses=_REFUSALS)
def models(service: TheService, caller: AnyCaller) -> list[ModelRow]:
    """All versions of all models, the newest first."""
    del caller
    with service.store.read() as session:
        return [_model_row(model) for model in session.scalars(select(Model).order_by(Model.loaded_at.desc()))]


@router.post(
    "/models/{name}/reload",
    responses={**_NOT_FOUND, 409: {"description": "the bundle fails its checks; the version before goes on"}},
)
def reload(
    parts: TheParts, caller: Admin, name: Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9_-]+$")]
) -> ModelRow:
    """Read the bundle of a model anew and let it answer from now on, without a stop."""
    if name not in [entry.name for entry in parts.models.entries()]:
        raise HTTPException(404, "there is no such model")
    try:
        loaded = parts.models.load(name, by=caller.actor)
    except ResightError as error:
        parts.service.audit("model refused", actor=caller.actor, subject=f"model {name}", reason=error.found)
        raise HTTPException(409, error.found) from None
    with parts.service.store.read() as session:
        return _model_row(session.get_one(Model, loaded.pk))


@router.get("/audit", responses=_REFUSALS)
def audit(
    service: TheService,
    caller: Admin,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="only entries behind this one")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditRow]:
    """Entries of the audit trail in order."""
    wanted = select(AuditEntry).where(AuditEntry.sequence > after).order_by(AuditEntry.sequence).limit(limit)
    with service.store.write() as session:
        rows = [
            AuditRow(**{name: getattr(entry, name) for name in AuditRow.model_fields})
            for entry in session.scalars(wanted)
        ]
        append(session, "audit trail viewed", actor=caller.actor, details={"after": after, "entries": len(rows)})
    return rows


@router.get("/health")
def health(parts: TheParts) -> dict[str, str]:
    """Whether the service can take studies and answer; for monitors, so it says nothing about anybody."""
    try:
        with parts.service.store.read() as session:
            head(session)
        parts.intake.require_room()
    except Exception as error:  # noqa: BLE001 - whatever is wrong, the monitor has to hear of it
        raise HTTPException(503, f"not able to take studies ({type(error).__name__})") from None
    return {"status": "degraded" if parts.models.problems else "ok"}


@router.get("/metrics", responses=_REFUSALS, response_class=Response)
def metrics(parts: TheParts, caller: Sender) -> Response:
    """Figures for Prometheus."""
    del caller
    text, kind = parts.telemetry.text()
    return Response(text, media_type=kind)


def busy(reason: str) -> Response:
    """Told to come back later."""
    return JSONResponse({"detail": reason}, 503, {"Retry-After": str(RETRY_AFTER_S)})


def _readable(session: Session, caller: Principal, study_uid: str) -> Study:
    """A study whose answers the caller may see: an unread case of a reader study is read there."""
    study = _study(session, study_uid)
    if not may_see_answer(session, caller.user_pk, study.id):
        raise HTTPException(403, "this case is part of a reader study and is read there")
    return study


def _study(session: Session, study_uid: str) -> Study:
    study = session.scalar(select(Study).where(Study.study_uid == study_uid))
    if study is None:
        raise HTTPException(404, "there is no such study")
    return study


def _model_row(model: Model) -> ModelRow:
    return ModelRow(
        name=model.name,
        version=model.model_hash,
        engine=model.engine,
        active=model.active,
        loaded_at=model.loaded_at.isoformat(),
        retired_at=None if model.retired_at is None else model.retired_at.isoformat(),
        summary=model.summary,
    )
