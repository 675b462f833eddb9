"""Tables of people: accounts, browser sessions, tokens, decisions, and reader studies."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from resight.serving.row import Base, now
from resight.serving.schema import Study

Action = Literal["accept", "override", "defer"]


class User(Base):
    """A person who signs in."""

    __tablename__ = "users"
    sealed = ("id", "name", "role", "password_hash", "disabled", "external_id")

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    password_hash: Mapped[str | None] = mapped_column(String(200), doc="argon2id; none for those who sign in elsewhere")
    external_id: Mapped[str | None] = mapped_column(
        String(300), unique=True, doc="issuer and subject of OpenID Connect"
    )
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class SignedIn(Base):
    """A browser session; the token itself is kept in the cookie only."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    user_pk: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]

    user: Mapped[User] = relationship()


class Token(Base):
    """A key for programs; only its digest is kept."""

    __tablename__ = "tokens"
    sealed = ("id", "name", "role", "token_sha256", "expires_at", "revoked_at")

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SignInFailure(Base):
    """A wrong password, counted against name and address."""

    __tablename__ = "sign_in_failures"

    id: Mapped[int] = mapped_column(primary_key=True)
    name_sha256: Mapped[str] = mapped_column(String(64), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    at: Mapped[datetime] = mapped_column(default=now)


class Decision(Base):
    """What a person made of a prediction; a later row of the same person and label replaces it in the reading."""

    __tablename__ = "decisions"
    sealed = (
        "id",
        "study_pk",
        "prediction_pk",
        "label",
        "user_pk",
        "reading",
        "action",
        "decision",
        "reason",
        "created_at",
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_pk: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    prediction_pk: Mapped[int | None] = mapped_column(ForeignKey("predictions.id"), doc="what was shown")
    label: Mapped[str | None] = mapped_column(String(200), doc="the finding; none for the whole study")
    user_pk: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    reading: Mapped[int] = mapped_column(default=1, doc="1 for the first reader, 2 for the second")
    action: Mapped[str] = mapped_column(String(20))
    decision: Mapped[int | None] = mapped_column(doc="what the person says: 1 present, 0 absent")
    reason: Mapped[str] = mapped_column(Text, default="")
    seconds: Mapped[float | None] = mapped_column(doc="from opening the study to deciding")
    created_at: Mapped[datetime] = mapped_column(default=now)

    study: Mapped[Study] = relationship(back_populates="decisions")
    user: Mapped[User] = relationship()


class ReaderStudy(Base):
    """A reader study: the same cases read unaided, then aided after a wash-out."""

    __tablename__ = "reader_studies"
    sealed = ("id", "name", "label", "seed", "washout_days", "created_at")

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    label: Mapped[str] = mapped_column(String(200))
    seed: Mapped[int]
    washout_days: Mapped[float] = mapped_column(default=28.0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]

    cases: Mapped[list[ReaderCase]] = relationship(back_populates="reader_study", order_by="ReaderCase.id")


class ReaderCase(Base):
    """One case of a reader study."""

    __tablename__ = "reader_cases"
    __table_args__ = (UniqueConstraint("reader_study_pk", "study_pk"),)
    sealed = ("id", "reader_study_pk", "study_pk", "reference")

    id: Mapped[int] = mapped_column(primary_key=True)
    reader_study_pk: Mapped[int] = mapped_column(ForeignKey("reader_studies.id"))
    study_pk: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    reference: Mapped[int | None] = mapped_column(doc="reference standard: 1 present, 0 absent; none if not known yet")

    reader_study: Mapped[ReaderStudy] = relationship(back_populates="cases")
    study: Mapped[Study] = relationship()


class ReaderReading(Base):
    """One reading of one case by one reader in one arm; its place in the reader's own random order."""

    __tablename__ = "reader_readings"
    __table_args__ = (
        UniqueConstraint("case_pk", "user_pk", "arm"),
        Index("ix_reader_readings_next", "user_pk", "arm", "place"),
    )
    sealed = ("id", "case_pk", "user_pk", "arm", "place", "shown_at", "answered_at", "decision", "confidence")

    id: Mapped[int] = mapped_column(primary_key=True)
    case_pk: Mapped[int] = mapped_column(ForeignKey("reader_cases.id"))
    user_pk: Mapped[int] = mapped_column(ForeignKey("users.id"))
    arm: Mapped[str] = mapped_column(String(10), doc="unaided or aided")
    place: Mapped[int]
    shown_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    decision: Mapped[int | None]
    confidence: Mapped[float | None] = mapped_column(doc="0 surely absent to 100 surely present")
    seconds: Mapped[float | None]

    case: Mapped[ReaderCase] = relationship()
    user: Mapped[User] = relationship()
