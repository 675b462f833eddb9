"""What the service knows of a study, as programs get it: state, findings, alerts, and where the objects are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from resight.findings.base import RESEARCH_ONLY
from resight.serving.current import current_predictions
from resight.serving.schema import Finding, Prediction, Study


class LabelResult(BaseModel):
    """One label of one image."""

    label: str
    score: float | None = Field(description="uncalibrated, 0 to 1")
    probability: float | None = Field(description="calibrated; null for a model without calibration")
    threshold: float | None = Field(description="of the operating point")
    decision: int | None = Field(description="1 at or above the threshold, else 0; null without an operating point")


class ImageResult(BaseModel):
    """One image."""

    image: str = Field(description="SOP instance UID, or the name of the uploaded file")
    findings: list[LabelResult]
    alerts: list[str] = Field(description="what the sentinels noticed")
    error: str = Field(default="", description="why there are no decisions; empty where there are")


class ModelResult(BaseModel):
    """What one version of a model says."""

    model: str
    version: str = Field(description="SHA-256 of the bundle's manifest")
    operating_point: str | None = Field(description="the one all decisions are made at")
    calibrated: bool
    use: str = Field(description="what the result may be used for")
    superseded: bool = Field(default=False, description="a newer answer of the same model has taken its place")
    images: list[ImageResult]


class ObjectResult(BaseModel):
    """A DICOM object that was written."""

    kind: str = Field(description="sr, sc, gsps or pm")
    sop_uid: str
    delivered_to: list[str]


class StudyResult(BaseModel):
    """A study with all that was found."""

    study_uid: str
    state: str = Field(description="receiving, queued, done, refused, failed or held")
    reason: str
    received_at: str
    instances: int
    risk: float | None = Field(description="highest probability of all findings")
    results: list[ModelResult]
    objects: list[ObjectResult]


class StudyRow(BaseModel):
    """One row of the worklist."""

    study_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    state: str
    reason: str
    received_at: str
    risk: float | None


def study_row(study: Study) -> StudyRow:
    """A study as a row of the worklist."""
    same = ("study_uid", "patient_id", "patient_name", "accession_number", "study_date", "state", "reason", "risk")
    values: dict[str, Any] = {name: getattr(study, name) for name in same}
    return StudyRow(**values, received_at=study.received_at.isoformat())


def study_result(session: Session, study: Study) -> StudyResult:
    """A study with its predictions, the newest version of each model first."""
    predictions = session.scalars(
        select(Prediction).where(Prediction.study_pk == study.id).order_by(Prediction.id.desc())
    ).all()
    current = {one.id for one in current_predictions(study)}
    objects = [
        ObjectResult(
            kind=one.kind,
            sop_uid=one.sop_uid,
            delivered_to=[delivery.destination for delivery in one.deliveries if delivery.delivered_at is not None],
        )
        for prediction in predictions
        for one in prediction.objects
    ]
    return StudyResult(
        study_uid=study.study_uid,
        state=study.state,
        reason=study.reason,
        received_at=study.received_at.isoformat(),
        instances=len(study.instances),
        risk=study.risk,
        results=[_model_result(prediction, superseded=prediction.id not in current) for prediction in predictions],
        objects=objects,
    )


def _model_result(prediction: Prediction, *, superseded: bool) -> ModelResult:
    images: dict[str, list[Finding]] = {}
    for finding in prediction.findings:
        images.setdefault(finding.instance.sop_uid, []).append(finding)
    return ModelResult(
        model=prediction.model.name,
        version=prediction.model.model_hash,
        operating_point=prediction.operating_point,
        calibrated=prediction.calibrated,
        use=prediction.model.summary.get("clearance") or RESEARCH_ONLY,
        superseded=superseded,
        images=[
            ImageResult(
                image=uid,
                findings=[_label_result(finding) for finding in findings],
                alerts=prediction.alerts.get(uid, []),
                error=findings[0].error,
            )
            for uid, findings in images.items()
        ],
    )


def _label_result(finding: Finding) -> LabelResult:
    names = ("label", "score", "probability", "threshold", "decision")
    return LabelResult(**{name: getattr(finding, name) for name in names})
