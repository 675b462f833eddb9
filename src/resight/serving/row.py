"""What all tables of the service share: moments in UTC, and the digest of a row that the audit trail vouches for.

`sealed` names the columns of a row whose digest stands in the audit trail: a change of one of them that the trail does
not know of is tampering.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Dialect, Float, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from resight.settings import plain


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


class UTCTime(TypeDecorator[datetime]):
    """A moment, kept as ISO 8601 text in UTC: the same digest on every database, and it sorts as text."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UTCTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        float: Float(53),
    }
    sealed: ClassVar[tuple[str, ...]] = ()

    def digest(self) -> str:
        """SHA-256 over the sealed columns."""
        values = {name: getattr(self, name) for name in type(self).sealed}
        return hashlib.sha256(canonical(values).encode()).hexdigest()


def sealed_tables() -> dict[str, type[Base]]:
    """The tables whose rows the audit trail vouches for, by name."""
    return {mapper.class_.__tablename__: mapper.class_ for mapper in Base.registry.mappers if mapper.class_.sealed}


def canonical(value: Any) -> str:
    """JSON that is the same for the same value: sorted keys, no blanks, moments in UTC."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_moment)


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(type(value).__name__)
