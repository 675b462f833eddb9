"""Tables of what came and what was answered: studies, instances, models, predictions, results, the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from resight.serving.row import Base, now

if TYPE_CHECKING:
    from resight.serving.people import Decision

StudyState = Literal["receiving", "queued", "predicting", "done", "refused", "failed", "held"]
"""`refused`: no image of the study is one that a model may judge. `failed`: tried, with an error, and to be tried again
or looked at. `held`: its model is not in service. In every state the images are kept."""


class Study(Base):
    """One DICOM study, or one upload. Row of the worklist."""

    __tablename__ = "studies"
    sealed = (
        "id",
        "study_uid",
        "patient_id",
        "patient_name",
        "patient_sex",
        "patient_birth_date",
        "accession_number",
        "study_date",
        "study_time",
        "study_id",
        "referring_physician",
        "received_at",
        "state",
        "reason",
        "risk",
        "source",
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(String(64), unique=True)
    patient_id: Mapped[str] = mapped_column(String(64), default="")
    patient_name: Mapped[str] = mapped_column(String(324), default="")
    patient_sex: Mapped[str] = mapped_column(String(16), default="")
    patient_birth_date: Mapped[str] = mapped_column(String(10), default="")
    patient_age_years: Mapped[float | None]
    accession_number: Mapped[str] = mapped_column(String(64), default="")
    study_date: Mapped[str] = mapped_column(String(10), default="", doc="YYYYMMDD")
    study_time: Mapped[str] = mapped_column(String(20), default="", doc="HHMMSS.FFFFFF")
    study_id: Mapped[str] = mapped_column(String(64), default="")
    referring_physician: Mapped[str] = mapped_column(String(324), default="")
    source: Mapped[str] = mapped_column(String(100), default="", doc="AE title, token or folder it came from")
    received_at: Mapped[datetime] = mapped_column(default=now)
    last_instance_at: Mapped[datetime] = mapped_column(default=now)
    state: Mapped[str] = mapped_column(String(20), default="receiving", index=True)
    reason: Mapped[str] = mapped_column(Text, default="", doc="why it is in this state, without names")
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    risk: Mapped[float | None] = mapped_column(index=True, doc="highest calibrated probability of all findings")

    instances: Mapped[list[Instance]] = relationship(back_populates="study", order_by="Instance.id")
    predictions: Mapped[list[Prediction]] = relationship(back_populates="study", order_by="Prediction.id")
    decisions: Mapped[list[Decision]] = relationship(back_populates="study", order_by="Decision.id")


class Instance(Base):
    """One object of a study: a file that is kept as it came."""

    __tablename__ = "instances"
    sealed = (
        "id",
        "study_pk",
        "sop_uid",
        "series_uid",
        "sop_class_uid",
        "file",
        "sha256",
        "size_bytes",
        "state",
        "reason",
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_pk: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    sop_uid: Mapped[str] = mapped_column(String(64), unique=True)
    series_uid: Mapped[str] = mapped_column(String(64), default="", index=True)
    sop_class_uid: Mapped[str] = mapped_column(String(64), default="")
    file: Mapped[str] = mapped_column(String(200), doc="below the folder of the service")
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    modality: Mapped[str] = mapped_column(String(16), default="")
    body_part: Mapped[str] = mapped_column(String(16), default="")
    view: Mapped[str] = mapped_column(String(16), default="")
    laterality: Mapped[str] = mapped_column(String(16), default="")
    instance_number: Mapped[int | None]
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    frames: Mapped[int | None]
    header: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="what results repeat of it, as DICOM JSON")
    state: Mapped[str] = mapped_column(String(20), default="image")
    reason: Mapped[str] = mapped_column(Text, default="")
    received_at: Mapped[datetime] = mapped_column(default=now)

    study: Mapped[Study] = relationship(back_populates="instances")


class Model(Base):
    """One version of a bundle that was in service."""

    __tablename__ = "models"
    sealed = ("id", "name", "model_hash", "bundle", "created")
    __table_args__ = (UniqueConstraint("name", "model_hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    model_hash: Mapped[str] = mapped_column(String(64), doc="sha256 of the manifest, which holds those of all files")
    bundle: Mapped[str] = mapped_column(Text, doc="folder")
    created: Mapped[str] = mapped_column(String(40), default="", doc="when the bundle was made")
    engine: Mapped[str] = mapped_column(String(40), default="torch")
    summary: Mapped[dict[str, Any]] = mapped_column(
        default=dict, doc="labels, task, operating points, intended use, limits"
    )
    active: Mapped[bool] = mapped_column(default=False)
    loaded_at: Mapped[datetime] = mapped_column(default=now)
    retired_at: Mapped[datetime | None]


class Prediction(Base):
    """The answer of one model version to the images of one study."""

    __tablename__ = "predictions"
    sealed = ("id", "study_pk", "model_pk", "key", "operating_point", "risk", "created_at", "alerts")

    id: Mapped[int] = mapped_column(primary_key=True)
    study_pk: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    model_pk: Mapped[int] = mapped_column(ForeignKey("models.id"), index=True)
    key: Mapped[str] = mapped_column(String(64), unique=True, doc="of study, images and model: one answer each")
    operating_point: Mapped[str | None] = mapped_column(String(100))
    calibrated: Mapped[bool] = mapped_column(default=False)
    risk: Mapped[float | None]
    alerts: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="what the sentinels noticed, by SOP instance UID")
    seconds: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    study: Mapped[Study] = relationship(back_populates="predictions")
    model: Mapped[Model] = relationship()
    findings: Mapped[list[Finding]] = relationship(back_populates="prediction", order_by="Finding.id")
    objects: Mapped[list[ResultObject]] = relationship(back_populates="prediction", order_by="ResultObject.id")


class Finding(Base):
    """One label of one image: score, calibrated probability and decision are three different things."""

    __tablename__ = "findings"
    sealed = (
        "id",
        "prediction_pk",
        "instance_pk",
        "label",
        "logit",
        "score",
        "probability",
        "threshold",
        "decision",
        "error",
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    prediction_pk: Mapped[int] = mapped_column(ForeignKey("predictions.id"), index=True)
    instance_pk: Mapped[int] = mapped_column(ForeignKey("instances.id"), index=True)
    label: Mapped[str] = mapped_column(String(200))
    logit: Mapped[float | None]
    score: Mapped[float | None]
    probability: Mapped[float | None]
    threshold: Mapped[float | None]
    decision: Mapped[int | None] = mapped_column(doc="1 at or above the threshold of the operating point, else 0")
    error: Mapped[str] = mapped_column(Text, default="", doc="why there are no numbers")

    prediction: Mapped[Prediction] = relationship(back_populates="findings")
    instance: Mapped[Instance] = relationship()


class ResultObject(Base):
    """A DICOM object written of a prediction."""

    __tablename__ = "result_objects"
    sealed = ("id", "prediction_pk", "kind", "sop_uid", "file", "sha256")

    id: Mapped[int] = mapped_column(primary_key=True)
    prediction_pk: Mapped[int] = mapped_column(ForeignKey("predictions.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    sop_uid: Mapped[str] = mapped_column(String(64), unique=True)
    file: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)

    prediction: Mapped[Prediction] = relationship(back_populates="objects")
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="object", order_by="Delivery.id")


class Delivery(Base):
    """One object on its way to one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("object_pk", "destination"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    object_pk: Mapped[int] = mapped_column(ForeignKey("result_objects.id"))
    destination: Mapped[str] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(default=now)
    delivered_at: Mapped[datetime | None] = mapped_column(index=True)
    last_error: Mapped[str] = mapped_column(Text, default="")

    object: Mapped[ResultObject] = relationship(back_populates="deliveries")


class AuditEntry(Base):
    """One link of the audit trail; triggers refuse to change or remove it."""

    __tablename__ = "audit_entries"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(60), index=True)
    subject: Mapped[str] = mapped_column(String(200), index=True)
    details: Mapped[str] = mapped_column(Text, doc="JSON, without names")
    rows: Mapped[str] = mapped_column(Text, doc="JSON: table, key and digest of each row it vouches for")
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
