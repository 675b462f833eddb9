"""What a person sees of a study beside its images: findings, alerts, model, decisions, earlier and similar cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from resight.findings.base import RESEARCH_ONLY
from resight.serving.current import is_current
from resight.serving.models import LoadedModel, Models
from resight.serving.people import Decision
from resight.serving.reader_studies import hidden_studies
from resight.serving.schema import Finding, Prediction, Study

_MOST_PRIORS: Final = 8
_MOST_SIMILAR: Final = 5
_SEARCHED: Final = 2000
"""Newest predictions among which similar cases are looked for."""
_FEWEST_LABELS: Final = 3
"""With fewer scores of a case, cases alike in them need not be alike."""


@dataclass(frozen=True)
class LabelView:
    """One label of a study: that of its images which shows it most.

    Attributes:
        finding: row of the database.
        number: calibrated probability; score where there is no calibration; None for an image with an error.
        decision: 1 where any image is at or above the threshold, 0 where none is, None without operating point.
        image: number of the image.
        has_overlay: whether the model in service can show where on that image it saw the label.
        answers: what the conformal set holds, in words; None without conformal sets.
        mine: newest decision of the person who looks.
        others: newest decision of every other person; empty until the person who looks has decided.
    """

    finding: Finding
    number: float | None
    decision: int | None
    image: int | None
    has_overlay: bool
    answers: str | None
    mine: Decision | None
    others: tuple[Decision, ...]


@dataclass(frozen=True)
class ModelView:
    """What one model says of a study, and what is known of the model; why it has no overlays, empty where it has."""

    prediction: Prediction
    labels: tuple[LabelView, ...]
    alerts: tuple[tuple[int | None, str], ...]
    use: str
    summary: dict[str, Any]
    no_evidence: str
    is_current: bool


@dataclass(frozen=True)
class OtherStudy:
    """An earlier study of the patient, or a similar case.

    Attributes:
        study: row of the database.
        present: labels at or above their thresholds; None where no model has decided anything.
        distance: of similar cases.
    """

    study: Study
    present: tuple[str, ...] | None
    distance: float | None = None

    @property
    def findings(self) -> str:
        """What was found, in words; a study without an answer is not one without findings."""
        if self.present:
            return ", ".join(self.present)
        if self.present is not None:
            return "nothing at or above its threshold"
        return "no result" if self.study.risk is None else "no operating point, no decisions"


def model_view(
    prediction: Prediction, models: Models, places: dict[int, int], decisions: Sequence[Decision], user_pk: int | None
) -> ModelView:
    """Put together what is shown of one prediction.

    Args:
        prediction: the newest of its model.
        models: in service.
        places: number of the image by row of the instance.
        decisions: of the study.
        user_pk: who looks.
    """
    loaded = models.current(prediction.model.name)
    is_current = loaded is not None and loaded.pk == prediction.model_pk
    by_image: dict[int, dict[str, Finding]] = {}
    for finding in prediction.findings:
        by_image.setdefault(finding.instance_pk, {})[finding.label] = finding
    sets: dict[tuple[int, str], str | None] = {}
    if loaded is not None and is_current and (conformal := loaded.predictor.manifest.conformal) is not None:
        names = loaded.predictor.manifest.labels
        for instance, found in by_image.items():
            row = [[np.nan if found[name].probability is None else found[name].probability for name in names]]
            words = conformal.words(np.asarray(row, dtype=np.float64))[0]
            sets |= {(instance, name): word for name, word in zip(names, words, strict=True)}
    no_evidence = _why_no_evidence(loaded if is_current else None)
    labels = []
    for label in dict.fromkeys(finding.label for finding in prediction.findings):
        findings = [found[label] for found in by_image.values() if label in found]
        strongest = max(findings, key=lambda one: (not one.error, number_of(one) or 0.0))
        known = [one.decision for one in findings if one.decision is not None]
        said = [one for one in decisions if one.label == label and one.prediction_pk == prediction.id]
        mine, others = _split(said, user_pk)
        labels.append(
            LabelView(
                finding=strongest,
                number=number_of(strongest),
                decision=max(known) if known else None,
                image=(image := places.get(strongest.instance_pk)),
                has_overlay=not (no_evidence or strongest.error) and image is not None,
                answers=sets.get((strongest.instance_pk, label)),
                mine=mine,
                others=others,
            )
        )
    uids = {finding.instance.sop_uid: finding.instance_pk for finding in prediction.findings}
    alerts = [(places.get(uids.get(uid, -1)), alert) for uid, found in prediction.alerts.items() for alert in found]
    alerts += [
        (places.get(pk), next(iter(f.values())).error) for pk, f in by_image.items() if next(iter(f.values())).error
    ]
    labels.sort(key=lambda one: (-(one.decision or 0), -(one.number or 0.0)))
    summary = prediction.model.summary
    return ModelView(
        prediction=prediction,
        labels=tuple(labels),
        alerts=tuple(alerts),
        use=summary.get("clearance") or RESEARCH_ONLY,
        summary=summary,
        no_evidence=no_evidence,
        is_current=is_current,
    )


def _why_no_evidence(loaded: LoadedModel | None) -> str:
    if loaded is None:
        return "No overlays: they are drawn by the version in service, and this one is not any more."
    return "" if loaded.entry.explainer else "No overlays: the settings name no explainer for this model."


def number_of(finding: Finding) -> float | None:
    """Calibrated probability, or score where there is none."""
    return finding.score if finding.probability is None else finding.probability


def reading_number(decisions: Iterable[Decision], user_pk: int) -> int:
    """1 for who decides on a study first, 2 for the second person, and so on."""
    order = list(dict.fromkeys(one.user_pk for one in decisions))
    return (order.index(user_pk) if user_pk in order else len(order)) + 1


def whole_study(decisions: Sequence[Decision], user_pk: int | None) -> tuple[Decision | None, tuple[Decision, ...]]:
    """Decision on the study as a whole of the person who looks, and of the others; see `LabelView`."""
    return _split([one for one in decisions if one.label is None], user_pk)


def prior_studies(session: Session, study: Study, user_pk: int | None) -> list[OtherStudy]:
    """Other studies of the patient, the newest first."""
    if not study.patient_id:
        return []
    wanted = (
        select(Study)
        .where(Study.patient_id == study.patient_id, Study.id != study.id, Study.id.not_in(hidden_studies(user_pk)))
        .order_by(Study.study_date.desc(), Study.id.desc())
        .limit(_MOST_PRIORS)
    )
    found = list(session.scalars(wanted))
    present = present_labels(session, [one.id for one in found])
    return [OtherStudy(one, present.get(one.id)) for one in found]


def similar_studies(session: Session, prediction: Prediction, user_pk: int | None) -> list[OtherStudy]:
    """Studies of other patients to which the same version of the model gave the most similar logits.

    The distance is Euclidean over all labels, each divided by its standard deviation. Empty for models with fewer than
    three labels.
    """
    newest = (
        select(Prediction.id, Prediction.study_pk)
        .where(Prediction.model_pk == prediction.model_pk, Prediction.study_pk.not_in(hidden_studies(user_pk)))
        .where(is_current())
        .order_by(Prediction.id.desc())
        .limit(_SEARCHED)
        .subquery()
    )
    wanted = (
        select(newest.c.study_pk, Finding.label, func.max(Finding.logit))
        .join(Finding, Finding.prediction_pk == newest.c.id)
        .where(Finding.error == "")
        .group_by(newest.c.study_pk, Finding.label)
    )
    vectors: dict[int, dict[str, float]] = {}
    for study, label, logit in session.execute(wanted):
        if logit is not None:
            vectors.setdefault(study, {})[label] = float(logit)
    here = vectors.pop(prediction.study_pk, {})
    labels = sorted(here)
    alike = {key: vector for key, vector in vectors.items() if sorted(vector) == labels}
    if len(labels) < _FEWEST_LABELS or not alike:
        return []
    table = np.array([[vector[label] for label in labels] for vector in alike.values()])
    spread = table.std(axis=0)
    distances = np.linalg.norm((table - [here[label] for label in labels]) / np.where(spread > 0, spread, 1), axis=1)
    near = dict(zip(alike, distances.tolist(), strict=True))
    patient = prediction.study.patient_id
    chosen = [
        study
        for key in sorted(near, key=lambda one: near[one])[: 4 * _MOST_SIMILAR]
        if not (study := session.get_one(Study, key)).patient_id or study.patient_id != patient
    ][:_MOST_SIMILAR]
    present = present_labels(session, [one.id for one in chosen])
    return [OtherStudy(one, present.get(one.id), near[one.id]) for one in chosen]


def present_labels(session: Session, studies: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Labels at or above their thresholds, the most probable first, of each study of which something was decided."""
    wanted = (
        select(Prediction.study_pk, Finding.label, Finding.decision)
        .join(Finding, Finding.prediction_pk == Prediction.id)
        .where(Prediction.study_pk.in_(studies), Finding.decision.is_not(None), is_current())
        .order_by(func.coalesce(Finding.probability, Finding.score).desc())
    )
    found: dict[int, dict[str, None]] = {}
    for study, label, decision in session.execute(wanted):
        labels = found.setdefault(study, {})
        if decision == 1:
            labels[label] = None
    return {study: tuple(labels) for study, labels in found.items()}


def age_words(since: datetime, moment: datetime) -> str:
    """How long ago something was, in at most two units."""
    minutes = max(0, int((moment - since).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def date_words(value: str) -> str:
    """A DICOM date as ISO 8601; what is none stays as it is."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def person_name(value: str) -> str:
    """A DICOM person name as people write it: family name, given names."""
    parts = value.split("=")[0].split("^")
    given = " ".join(part for part in parts[1:3] if part)
    return f"{parts[0]}, {given}" if given else parts[0]


def _split(decisions: Sequence[Decision], user_pk: int | None) -> tuple[Decision | None, tuple[Decision, ...]]:
    newest = {one.user_pk: one for one in decisions}
    mine = None if user_pk is None else newest.pop(user_pk, None)
    # a second reader decides without knowing what the first one said
    return mine, tuple(newest.values()) if mine is not None else ()
