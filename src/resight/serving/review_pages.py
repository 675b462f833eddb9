"""Worklist and study page: who has to be looked at first, and what a person makes of what the model says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from resight.serving.access import AnyCaller, Reader, TheParts, TheService
from resight.serving.accounts import Principal
from resight.serving.audit_trail import append
from resight.serving.current import current_predictions, is_current, is_of_newest_answer
from resight.serving.pages import Key, render
from resight.serving.people import Action, Decision
from resight.serving.pictures import images_of
from resight.serving.reader_studies import hidden_studies, may_see_answer
from resight.serving.row import now
from resight.serving.schema import Finding, Instance, Model, Prediction, Study, StudyState
from resight.serving.study_view import (
    age_words,
    date_words,
    model_view,
    person_name,
    present_labels,
    prior_studies,
    reading_number,
    similar_studies,
    whole_study,
)

router = APIRouter(include_in_schema=False)

Sort = Literal["risk", "oldest", "newest"]
Read = Literal["all", "unread", "read"]
_SUMMARIES: Final = select(Model.summary).where(Model.active)
_PAGE: Final = 50
_SHORTEST_REASON: Final = 3
_LONGEST_READING: Final = timedelta(hours=8)
"""A page that was open for longer was left open over night and says nothing about reading time."""


@router.get("/")
def start(caller: AnyCaller) -> RedirectResponse:
    """The worklist is where work begins."""
    del caller  # asked for so that strangers are told nothing
    return RedirectResponse("/worklist", 303)


@router.get("/worklist")
def worklist(
    request: Request,
    service: TheService,
    caller: Reader,
    state: Annotated[str, Query(max_length=20)] = "",
    label: Annotated[str, Query(max_length=200)] = "",
    modality: Annotated[str, Query(max_length=16)] = "",
    read: Read = "all",
    sort: Sort = "risk",
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> HTMLResponse:
    """Studies by calibrated risk, filtered, a page at a time."""
    given = {"state": state, "label": label, "modality": modality, "read": read, "sort": sort}
    with service.store.read() as session:
        chosen = _chosen(caller, state, label, modality, read)
        total = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
        rows = list(session.scalars(_sorted(chosen, sort, label).limit(_PAGE).offset((page - 1) * _PAGE)))
        keys = [row.id for row in rows]
        answer = render(
            request,
            "worklist.html",
            person=caller,
            rows=rows,
            total=total,
            page=page,
            pages=max(1, -(-total // _PAGE)),
            given=given,
            link=lambda **changed: "/worklist?" + urlencode({k: v for k, v in (given | changed).items() if v}),
            states=get_args(StudyState),
            labels=sorted({name for found in session.scalars(_SUMMARIES) for name in found.get("labels", ())}),
            modalities=sorted(filter(None, session.scalars(select(Instance.modality).distinct()))),
            present=present_labels(session, keys),
            kinds=_kinds(session, keys),
            readings=_readings(session, keys),
            uncalibrated=_uncalibrated(session, keys),
            moment=now(),
            age_words=age_words,
            date_words=date_words,
            person_name=person_name,
        )
    service.audit("worklist viewed", actor=caller.actor, rows=len(rows), page=page)
    return answer


@router.get("/worklist/next")
def next_study(service: TheService, caller: Reader, after: Annotated[int, Query(ge=0)] = 0) -> Response:
    """The study with the highest risk that nobody has read, other than the one just looked at."""
    wanted = _sorted(_chosen(caller, "done", "", "", "unread").where(Study.id != after), "risk", "")
    with service.store.read() as session:
        found = session.scalar(wanted.limit(1))
    return RedirectResponse("/worklist?read=unread" if found is None else f"/studies/{found.id}", 303)


@router.get("/studies/{key}")
def study_page(request: Request, parts: TheParts, caller: Reader, key: Key) -> HTMLResponse:
    """Images, findings and decisions of one study."""
    return _study_page(request, parts, caller, key)


@router.post("/studies/{key}/decide")
def decide(
    request: Request,
    parts: TheParts,
    caller: Reader,
    key: Key,
    action: Annotated[Action, Form()],
    prediction: Annotated[int | None, Form()] = None,
    label: Annotated[str, Form(max_length=200)] = "",
    decision: Annotated[int | None, Form(ge=0, le=1)] = None,
    reason: Annotated[str, Form(max_length=2000)] = "",
    opened: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Accept, override with a reason, or defer: one finding, or the study where no label is named."""
    if caller.user_pk is None:
        raise HTTPException(403, "decisions are made by people who signed in")
    problem = ""
    with parts.service.store.write() as session:
        study = _visible(session, caller, key)
        newest = {one.id: one for one in current_predictions(study)}
        shown = newest.get(prediction or 0)
        if prediction is not None and shown is None:
            raise HTTPException(409, "a newer version of the model has answered; load the page again")
        model_says = None
        if label:
            views = [] if shown is None else _views(parts, study, [shown], caller)[0].labels
            view = next((one for one in views if one.finding.label == label), None)
            if view is None:
                raise HTTPException(404, "there is no such finding")
            model_says = view.decision
        said, problem = _said(action, model_says, decision, reason.strip(), is_finding=bool(label))
        if not problem:
            row = Decision(
                study_pk=key,
                prediction_pk=None if shown is None else shown.id,
                label=label or None,
                user_pk=caller.user_pk,
                reading=reading_number(study.decisions, caller.user_pk),
                action=action,
                decision=said,
                reason=reason.strip(),
                seconds=_seconds_since(opened),
            )
            session.add(row)
            session.flush()
            details = {"action": action, "label": label or None, "decision": said, "reading": row.reading}
            append(session, "decision made", actor=caller.actor, subject=f"study {key}", details=details, rows=[row])
    if problem:
        return _study_page(request, parts, caller, key, message=problem, status=422)
    return RedirectResponse(f"/studies/{key}#decisions", 303)


def _study_page(
    request: Request, parts: TheParts, caller: Principal, key: int, *, message: str = "", status: int = 200
) -> HTMLResponse:
    with parts.service.store.read() as session:
        study = _visible(session, caller, key)
        current = current_predictions(study)
        views = _views(parts, study, current, caller)
        mine, others = whole_study(study.decisions, caller.user_pk)
        answer = render(
            request,
            "study.html",
            status=status,
            person=caller,
            study=study,
            message=message,
            images=images_of(study),
            views=views,
            superseded=[one for one in reversed(study.predictions) if one not in current],
            mine=mine,
            others=others,
            unseen=mine is None and any(one.user_pk != caller.user_pk for one in study.decisions),
            reading=None if caller.user_pk is None else reading_number(study.decisions, caller.user_pk),
            priors=prior_studies(session, study, caller.user_pk),
            similar={view.prediction.id: similar_studies(session, view.prediction, caller.user_pk) for view in views},
            opened=now().isoformat(),
            moment=now(),
            age_words=age_words,
            date_words=date_words,
            person_name=person_name,
        )
    parts.service.audit("study viewed", actor=caller.actor, subject=f"study {key}")
    return answer


def _visible(session: Session, caller: Principal, key: int) -> Study:
    study = session.get(Study, key)
    if study is None:
        raise HTTPException(404, "there is no such study")
    if not may_see_answer(session, caller.user_pk, key):
        raise HTTPException(403, "this case is part of a reader study and is read there")
    return study


def _views(parts: TheParts, study: Study, predictions: list[Prediction], caller: Principal) -> list[Any]:
    places = {one.id: number for number, image in enumerate(images_of(study)) for one in image}
    return [model_view(one, parts.models, places, study.decisions, caller.user_pk) for one in predictions]


def _said(
    action: Action, model_says: int | None, given: int | None, reason: str, *, is_finding: bool
) -> tuple[int | None, str]:
    """What the person says of the finding, and why the form cannot be taken."""
    if action == "defer":
        return None, ""
    if not is_finding:
        return None, "" if action == "accept" else "A study as a whole is accepted or deferred; override its findings."
    if action == "accept":
        return model_says, "" if model_says is not None else "There is no decision that could be accepted."
    if len(reason) < _SHORTEST_REASON:
        return None, "Say why you override the model."
    if model_says is None and given is None:
        return None, "Say whether the finding is present."
    return (given if model_says is None else 1 - model_says), ""


def _seconds_since(opened: str) -> float | None:
    try:
        passed = now() - datetime.fromisoformat(opened)
    except (ValueError, TypeError):
        return None
    return round(passed.total_seconds(), 1) if timedelta(0) <= passed <= _LONGEST_READING else None


def _chosen(caller: Principal, state: str, label: str, modality: str, read: Read) -> Select[Study]:
    wanted = select(Study).where(Study.id.not_in(hidden_studies(caller.user_pk)))
    if state:
        wanted = wanted.where(Study.state == state)
    if modality:
        wanted = wanted.where(Study.instances.any(Instance.modality == modality))
    if label:
        wanted = wanted.where(_of_label(label, func.max(Finding.decision)) == 1)
    if read != "all":
        was_read = Study.decisions.any(is_of_newest_answer())
        wanted = wanted.where(was_read if read == "read" else ~was_read)
    return wanted


def _sorted(wanted: Select[Study], sort: Sort, label: str) -> Select[Study]:
    if sort != "risk":
        moment = Study.received_at
        return wanted.order_by(moment if sort == "oldest" else moment.desc(), Study.id)
    number = func.max(func.coalesce(Finding.probability, Finding.score))
    risk = _of_label(label, number) if label else Study.risk
    return wanted.order_by(risk.is_(None), risk.desc(), Study.id)


def _of_label(label: str, figure: ColumnElement[Any]) -> Any:
    """A figure over the findings of one label of each study, by the current answers."""
    return (
        select(figure)
        .select_from(Finding)
        .join(Prediction, Prediction.id == Finding.prediction_pk)
        .where(Prediction.study_pk == Study.id, is_current(), Finding.label == label)
        .correlate(Study)
        .scalar_subquery()
    )


def _kinds(session: Session, keys: list[int]) -> dict[int, str]:
    """Modality and number of images of each study."""
    wanted = (
        select(Instance.study_pk, Instance.modality, func.count())
        .where(Instance.study_pk.in_(keys))
        .group_by(Instance.study_pk, Instance.modality)
        .order_by(Instance.modality)
    )
    found: dict[int, list[str]] = {}
    for key, modality, count in session.execute(wanted):
        found.setdefault(key, []).append(f"{modality or '?'} {count}")
    return {key: ", ".join(kinds) for key, kinds in found.items()}


def _readings(session: Session, keys: list[int]) -> dict[int, int]:
    """How many people have decided on each study since a model last answered."""
    wanted = (
        select(Decision.study_pk, func.count(Decision.user_pk.distinct()))
        .where(Decision.study_pk.in_(keys), is_of_newest_answer())
        .group_by(Decision.study_pk)
    )
    return {key: int(count) for key, count in session.execute(wanted)}


def _uncalibrated(session: Session, keys: list[int]) -> set[int]:
    wanted = select(Prediction.study_pk).where(Prediction.study_pk.in_(keys), is_current(), ~Prediction.calibrated)
    return set(session.scalars(wanted))
