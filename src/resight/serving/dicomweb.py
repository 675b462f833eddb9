"""STOW-RS: studies stored over HTTP (PS3.18 10.5), part by part onto the disk, kept as by C-STORE."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import JSONResponse, Response
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from resight.errors import OutputError
from resight.serving.access import Sender, TheParts
from resight.serving.api import busy
from resight.serving.intake import Intake, Outcome
from resight.serving.node import CANNOT_UNDERSTAND, MISMATCH

router = APIRouter(prefix="/dicom-web")

_MOST_PARTS: Final = 5000
_LONGEST_HEADERS: Final = 8192
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "all kept", "content": {"application/dicom+json": {}}},
    202: {"description": "some kept, some refused; the answer names them", "content": {"application/dicom+json": {}}},
    400: {"description": "not multipart/related, or damaged"},
    401: {"description": "nobody is signed in"},
    403: {"description": "the role may not do this"},
    409: {"description": "none kept; the answer says why", "content": {"application/dicom+json": {}}},
    413: {"description": "larger than the service takes"},
    415: {"description": "not multipart/related with parts of application/dicom"},
    503: {"description": "no room, or the database is away; see Retry-After"},
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {'multipart/related; type="application/dicom"': {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/studies", responses=_RESPONSES, openapi_extra=_BODY)
async def store(request: Request, parts: TheParts, caller: Sender) -> Response:
    """Keep instances of any studies."""
    return await _store(request, parts.intake, caller.actor, None)


@router.post("/studies/{study_uid}", responses=_RESPONSES, openapi_extra=_BODY)
async def store_in_study(
    request: Request, parts: TheParts, caller: Sender, study_uid: Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")]
) -> Response:
    """Keep instances of one study."""
    return await _store(request, parts.intake, caller.actor, study_uid)


async def _store(request: Request, intake: Intake, actor: str, study_uid: str | None) -> Response:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/related" or not 0 < len(boundary) <= 200:
        raise HTTPException(415, "expected multipart/related with a boundary")
    spooled = _Parts(intake)
    try:
        parser = MultipartParser(boundary, spooled.callbacks())
        async for chunk in request.stream():
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
        if not spooled.complete:
            raise HTTPException(400, "the body ends within a part, or holds none")
        expected = {} if study_uid is None else {"StudyInstanceUID": study_uid}
        outcomes = [await run_in_threadpool(intake.accept, path, actor, expected) for path in spooled.paths]
    except MultipartParseError:
        raise HTTPException(400, "the body is not the multipart that its header describes") from None
    except OutputError as error:
        return busy(error.found)
    finally:
        spooled.remove()
    refused = sum(outcome.state == "refused" for outcome in outcomes)
    status = 200 if not refused else 409 if refused == len(outcomes) else 202
    return JSONResponse(_answer(outcomes), status, media_type="application/dicom+json")


class _Parts:
    """Writes the parts of a body to files as they come."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._open: BinaryIO | None = None
        self._header_bytes = 0
        self.paths: list[FilePath] = []
        self.complete = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._header,
            "on_header_value": self._header,
            "on_end": self._finish,
        }

    def remove(self) -> None:
        self._end()
        for path in self.paths:
            path.unlink(missing_ok=True)

    def _begin(self) -> None:
        if len(self.paths) >= _MOST_PARTS:
            raise MultipartParseError("too many parts")
        self._header_bytes = 0
        self.paths.append(self._intake.spool())
        self._open = self.paths[-1].open("wb")

    def _header(self, data: bytes, start: int, end: int) -> None:
        del data
        self._header_bytes += end - start
        if self._header_bytes > _LONGEST_HEADERS:
            raise MultipartParseError("headers of a part are too long")

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._open is not None
        self._open.write(data[start:end])

    def _end(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _finish(self) -> None:
        self.complete = bool(self.paths)


def _answer(outcomes: list[Outcome]) -> dict[str, Any]:
    """The Store Instances Response (PS3.18 I.2) as DICOM JSON."""
    kept = [_reference(outcome) for outcome in outcomes if outcome.state != "refused"]
    refused = [_reference(outcome) for outcome in outcomes if outcome.state == "refused"]
    answer: dict[str, Any] = {}
    if refused:
        answer["00081198"] = {"vr": "SQ", "Value": refused}
    if kept:
        answer["00081199"] = {"vr": "SQ", "Value": kept}
    return answer


def _reference(outcome: Outcome) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if outcome.sop_class_uid:
        item["00081150"] = {"vr": "UI", "Value": [outcome.sop_class_uid]}
        item["00081155"] = {"vr": "UI", "Value": [outcome.sop_uid]}
    if outcome.state == "refused":
        status = MISMATCH if "announced" in outcome.reason or "same SOP" in outcome.reason else CANNOT_UNDERSTAND
        item["00081197"] = {"vr": "US", "Value": [status]}
    return item
