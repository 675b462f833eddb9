"""Dashboard: what came and what became of it, whether cases still look as they did, and how groups of patients fare."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pandas as pd
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from resight.errors import PredictionsError
from resight.evaluation.proportions import wilson
from resight.monitoring import MonitorOptions, Reference, Watch, monitor
from resight.predictions import Predictions
from resight.serving.access import Reader, TheParts
from resight.serving.current import is_current
from resight.serving.models import LoadedModel
from resight.serving.pages import render
from resight.serving.people import Decision
from resight.serving.row import now
from resight.serving.schema import Finding, Instance, Prediction, Study
from resight.settings import validate

router = APIRouter(include_in_schema=False)

_DAYS: Final = 14
_MOST_IMAGES: Final = 2000
"""Newest images that are compared with the reference."""
MOST_STUDIES: Final = 5000
"""Newest studies by which groups are counted."""
_AGES: Final = ((40, "below 40"), (65, "40 to 64"), (200, "65 and above"))
_NOT_KNOWN: Final = "not known"
_LOWEST: Final = 1e-3
"""Lower edge of the curve of the watch."""


@dataclass(frozen=True)
class Rate:
    """How often something is so.

    Attributes:
        count: how often it was.
        n: out of how many.
        low: of the 95 % interval by Wilson; NaN for none out of none.
        high: of the same.
    """

    count: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class GroupRow:
    """One group of patients and one label."""

    attribute: str
    group: str
    label: str
    present: Rate
    overridden: Rate


@dataclass(frozen=True)
class Drift:
    """Incoming cases of one model against the reference of its bundle.

    Attributes:
        model: its name.
        watch: what was found; None where nothing could be compared.
        reason: why not.
    """

    model: str
    watch: Watch | None
    reason: str


class DriftCache:
    """What monitoring found, by version of the model and newest prediction: a page does not compute it again."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[str, int], Drift]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, key: tuple[str, int], find: Callable[[], Drift]) -> Drift:
        """What is known for the key, or what `find` finds; one at a time."""
        with self._lock:
            if name not in self._found or self._found[name][0] != key:
                self._found[name] = key, find()
            return self._found[name][1]


@router.get("/dashboard")
def dashboard(request: Request, parts: TheParts, caller: Reader) -> HTMLResponse:
    """Counts, throughput, drift and groups."""
    moment = now()
    with parts.service.store.read() as session:
        states = {one: int(n) for one, n in session.execute(select(Study.state, func.count()).group_by(Study.state))}
        days = _days(session, moment)
        waits = _waits(session, moment)
        loaded = [model for entry in parts.models.entries() if (model := parts.models.current(entry.name)) is not None]
        drifts = [_drift(request.app.state.drifts, session, model) for model in loaded]
        groups = {model.entry.name: group_rows(session, model.pk) for model in loaded}
        readers = _readers(session)
    parts.service.audit("dashboard viewed", actor=caller.actor)
    return render(
        request,
        "dashboard.html",
        person=caller,
        states=states,
        days=days,
        most=max((count for _, count in days), default=0) or 1,
        waits=waits,
        drifts=drifts,
        groups=groups,
        most_studies=MOST_STUDIES,
        readers=readers,
        problems=parts.models.problems,
        models=loaded,
        path=_path,
        height=height,
    )


def rate(count: int, n: int) -> Rate:
    """A share with its interval."""
    low, high = wilson(count, n) if n else (float("nan"), float("nan"))
    return Rate(count, n, low, high)


def group_rows(session: Session, model_pk: int) -> list[GroupRow]:
    """How often a version calls each label present, and how often people override it, by sex, age and modality.

    A study counts once a label: present where any of its images is. Only the newest studies are counted, so that the
    page does not grow slower with the years.
    """
    newest_studies = (
        select(Prediction.id)
        .where(Prediction.model_pk == model_pk, is_current())
        .order_by(Prediction.id.desc())
        .limit(MOST_STUDIES)
        .subquery()
    )
    wanted = (
        select(
            Prediction.id,
            Study.patient_sex,
            Study.patient_age_years,
            func.min(Instance.modality),
            Finding.label,
            func.max(Finding.decision),
        )
        .select_from(Finding)
        .join(Finding.prediction)
        .join(Finding.instance)
        .join(Study, Study.id == Prediction.study_pk)
        .where(Prediction.id.in_(select(newest_studies.c.id)), Finding.decision.is_not(None))
        .group_by(Prediction.id, Study.patient_sex, Study.patient_age_years, Finding.label)
    )
    newest = (
        select(func.max(Decision.id))
        .where(Decision.label.is_not(None))
        .group_by(Decision.prediction_pk, Decision.label, Decision.user_pk)
    )
    said: dict[tuple[int | None, str | None], list[str]] = {}
    for one in session.scalars(select(Decision).where(Decision.id.in_(newest), Decision.action != "defer")):
        said.setdefault((one.prediction_pk, one.label), []).append(one.action)
    seen: Counter[tuple[str, str, str]] = Counter()
    present: Counter[tuple[str, str, str]] = Counter()
    read: Counter[tuple[str, str, str]] = Counter()
    overridden: Counter[tuple[str, str, str]] = Counter()
    for prediction, sex, age, modality, label, decision in session.execute(wanted):
        actions = said.get((prediction, label), [])
        groups = {"sex": sex or _NOT_KNOWN, "age in years": _age_group(age), "modality": modality or _NOT_KNOWN}
        for key in ((attribute, group, label) for attribute, group in groups.items()):
            seen[key] += 1
            present[key] += int(decision or 0)
            read[key] += len(actions)
            overridden[key] += actions.count("override")
    return [GroupRow(*key, rate(present[key], n), rate(overridden[key], read[key])) for key, n in sorted(seen.items())]


def incoming(session: Session, model: LoadedModel) -> Predictions | None:
    """The newest findings of a version as a predictions table, in the order they arrived; None where there are none."""
    manifest = model.predictor.manifest
    images = (
        select(Finding.prediction_pk, Finding.instance_pk, func.max(Finding.id).label("newest"))
        .join(Finding.prediction)
        .where(Prediction.model_pk == model.pk, is_current(), Finding.error == "")
        .group_by(Finding.prediction_pk, Finding.instance_pk)
        .order_by(func.max(Finding.id).desc())
        .limit(_MOST_IMAGES)
        .subquery()
    )
    wanted = (
        select(Finding, Prediction.alerts, Instance.sop_uid, Study)
        .join(images, (images.c.prediction_pk == Finding.prediction_pk) & (images.c.instance_pk == Finding.instance_pk))
        .join(Finding.prediction)
        .join(Finding.instance)
        .join(Study, Study.id == Prediction.study_pk)
        .order_by(Finding.id)
    )
    rows = [
        {
            "image": uid,
            "patient_id": study.patient_id or study.study_uid,
            "label": finding.label,
            "logit": finding.logit,
            "score": finding.score,
            "probability": finding.probability,
            "alerts": " ".join(alerts.get(uid, ())),
            "sex": study.patient_sex,
            "age": study.patient_age_years,
        }
        for finding, alerts, uid, study in session.execute(wanted)
    ]
    if not rows:
        return None
    table = pd.DataFrame(rows).dropna(axis="columns", how="all")
    return Predictions(table, manifest.labels, manifest.task)


def _drift(cache: DriftCache, session: Session, model: LoadedModel) -> Drift:
    reference = model.predictor.manifest.reference
    if reference is None:
        return Drift(model.entry.name, None, "The bundle carries no reference to compare with.")
    newest = session.scalar(select(func.max(Prediction.id)).where(Prediction.model_pk == model.pk)) or 0

    def find() -> Drift:
        table = incoming(session, model)
        if table is None:
            return Drift(model.entry.name, None, "No case has been answered yet.")
        try:
            remembered = validate(Reference, reference, where=model.entry.name)
            return Drift(model.entry.name, monitor(remembered, [table], MonitorOptions()), "")
        except PredictionsError as error:
            return Drift(model.entry.name, None, f"{error}.")

    return cache.get(model.entry.name, (model.identity.version, newest), find)


def _days(session: Session, moment: datetime) -> list[tuple[str, int]]:
    """Studies received on each of the last days, UTC."""
    first = (moment - timedelta(days=_DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    received = session.scalars(select(Study.received_at).where(Study.received_at >= first))
    counts = Counter(one.date().isoformat() for one in received)
    names = [(first + timedelta(days=day)).date().isoformat() for day in range(_DAYS)]
    return [(name, counts[name]) for name in names]


def _waits(session: Session, moment: datetime) -> dict[str, float | None]:
    """Median seconds of the last seven days: last image to answer, computing, and a person's reading."""
    since = moment - timedelta(days=7)
    answered = select(Prediction.created_at, Study.last_instance_at, Prediction.seconds).join(Prediction.study)
    rows = session.execute(answered.where(Prediction.created_at >= since)).all()
    read = session.scalars(select(Decision.seconds).where(Decision.created_at >= since, Decision.label.is_(None)))
    return {
        "from the last image to the answer": _median([(made - last).total_seconds() for made, last, _ in rows]),
        "of computing": _median([seconds for _, _, seconds in rows if seconds is not None]),
        "of reading a study": _median([seconds for seconds in read if seconds is not None]),
    }


def _readers(session: Session) -> list[tuple[str, int]]:
    wanted = select(Decision.action, func.count()).where(Decision.label.is_not(None)).group_by(Decision.action)
    return [(action, int(count)) for action, count in session.execute(wanted.order_by(Decision.action))]


def _median(values: Sequence[float]) -> float | None:
    return float(pd.Series(values).median()) if values else None


def _age_group(age: float | None) -> str:
    return _NOT_KNOWN if age is None else next((name for limit, name in _AGES if age < limit), _NOT_KNOWN)


def _path(values: Sequence[float], limit: float) -> str:
    """A curve of logarithms in a box of 100 by 40, its upper edge at ten times the limit."""
    heights = [height(value, limit) for value in values]
    return "M" + " L".join(f"{100 * i / max(len(heights) - 1, 1):.2f} {y:.2f}" for i, y in enumerate(heights))


def height(value: float, limit: float) -> float:
    """Distance of a value from the upper edge of that box."""
    highest, lowest = math.log10(10 * limit), math.log10(_LOWEST)
    return 40 * (highest - min(max(math.log10(max(value, _LOWEST)), lowest), highest)) / (highest - lowest)
