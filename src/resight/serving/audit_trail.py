"""The audit trail: append-only, each entry chained to the one before by SHA-256, its heads written outside.

An entry says who did what to what, in words that name no patient, and vouches for rows of other tables by the digest
of their sealed columns. What `verify_trail` finds:

- an entry that was changed (its hash), removed from the middle or put elsewhere (the chain), or cut off at the end or
  rewritten as a whole (the exported heads);
- a row that was changed, removed, or added without an entry.

`changed_objects` compares the kept files with the digests in those rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from resight.errors import OutputError
from resight.models.checksums import file_problem
from resight.serving.row import Base, canonical, now, sealed_tables
from resight.serving.schema import AuditEntry, Instance, ResultObject, Study

_GENESIS: Final = "0" * 64
_LOCK: Final = 7_305_001
"""Number of the advisory lock that writers of the trail take on PostgreSQL."""
_PAGE: Final = 1000


@dataclass(frozen=True)
class Head:
    """The newest entry: its number and hash stand for the whole trail before it."""

    sequence: int
    hash: str
    at: str

    def line(self) -> str:
        """One line of the file of heads."""
        return f"{self.sequence} {self.hash} {self.at}\n"


def append(
    session: Session,
    action: str,
    *,
    actor: str,
    subject: str = "",
    details: Mapping[str, Any] | None = None,
    rows: Iterable[Base] = (),
) -> AuditEntry:
    """Add an entry; it becomes true together with the transaction it is part of.

    Args:
        session: a writing session.
        action: what was done, as `prediction made`.
        actor: who did it: `user NAME`, `token NAME`, `node AETITLE` or `service`.
        subject: what it was done to, as `study 12`.
        details: more about it; no names and nothing from a free-text field of a header.
        rows: rows that the entry vouches for from now on.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    session.flush()
    last = head(session)
    vouched = [[type(row).__tablename__, row.id, row.digest()] for row in rows]  # type: ignore[attr-defined]
    entry = AuditEntry(
        sequence=1 if last is None else last.sequence + 1,
        at=now().isoformat(timespec="microseconds"),
        actor=actor,
        action=action,
        subject=subject,
        details=canonical(details or {}),
        rows=canonical(vouched),
        previous=_GENESIS if last is None else last.hash,
    )
    entry.hash = _hash_of(entry)
    session.add(entry)
    session.flush()
    return entry


def head(session: Session) -> Head | None:
    """The newest entry; None where there is none yet."""
    newest = select(AuditEntry.sequence, AuditEntry.hash, AuditEntry.at).order_by(AuditEntry.sequence.desc()).limit(1)
    found = session.execute(newest).first()
    return None if found is None else Head(*found)


def export_head(session: Session, path: Path) -> Head | None:
    """Append the newest head to a file, if it is not there already.

    Raises:
        OutputError: the file cannot be written.
    """
    newest = head(session)
    if newest is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="ascii") as stream:
            stream.seek(max(0, stream.tell() - 200))
            if not stream.read().endswith(newest.line()):
                stream.write(newest.line())
    except OSError as error:
        raise OutputError(
            f"the head of the audit trail cannot be written ({error.strerror})", where=str(path)
        ) from error
    return newest


def verify_trail(session: Session, heads: Path | None = None) -> list[str]:
    """Everything that does not fit together, one clause each; empty where nothing was tampered with.

    Args:
        session: a session; only read from.
        heads: file of exported heads; without it, entries cut off at the end cannot be noticed.

    Raises:
        OutputError: the file of heads cannot be read.
    """
    exported = {} if heads is None else _read_heads(heads)
    problems: list[str] = []
    vouched: dict[tuple[str, int], str] = {}
    expected, previous, last = 1, _GENESIS, 0
    for entry in _entries(session):
        if entry.sequence != expected:
            problems.append(f"entry {expected} to {entry.sequence - 1}: removed")
        if entry.previous != previous and entry.sequence == expected:
            problems.append(f"entry {entry.sequence}: does not follow the one before it")
        if entry.hash != _hash_of(entry):
            problems.append(f"entry {entry.sequence}: changed")
        elif exported.get(entry.sequence, entry.hash) != entry.hash:
            problems.append(f"entry {entry.sequence}: is not the one whose head was exported")
        vouched.update(_rows_of(entry, problems))
        expected, previous, last = entry.sequence + 1, entry.hash, entry.sequence
    if beyond := [sequence for sequence in exported if sequence > last]:
        problems.append(f"entry {last + 1} to {max(beyond)}: cut off; a head of them was exported")
    return problems + list(_row_problems(session, vouched))


def changed_objects(session: Session, folder: Path) -> list[str]:
    """Kept images and results whose bytes are not those that their rows vouch for, one clause each.

    Args:
        session: a session; only read from.
        folder: of the service.
    """
    problems: list[str] = []
    for table in (Instance, ResultObject):
        after = 0
        while page := _page(session, table, after):
            for row in page:
                assert isinstance(row, Instance | ResultObject)
                if problem := file_problem(folder / row.file, row.sha256):
                    problems.append(f"{table.__tablename__} {row.id}: its file {problem}")
                after = row.id
            session.expunge_all()
    return problems


def _hash_of(entry: AuditEntry) -> str:
    said = [
        entry.sequence,
        entry.at,
        entry.actor,
        entry.action,
        entry.subject,
        entry.details,
        entry.rows,
        entry.previous,
    ]
    return hashlib.sha256(canonical(said).encode()).hexdigest()


def _entries(session: Session) -> Iterator[AuditEntry]:
    """All entries in order, a page at a time, so that memory does not grow with the trail."""
    after = -(2**31)
    while page := session.scalars(
        select(AuditEntry).where(AuditEntry.sequence > after).order_by(AuditEntry.sequence).limit(_PAGE)
    ).all():
        yield from page
        after = page[-1].sequence
        session.expunge_all()


def _rows_of(entry: AuditEntry, problems: list[str]) -> dict[tuple[str, int], str]:
    try:
        return {(str(table), int(key)): str(digest) for table, key, digest in json.loads(entry.rows)}
    except (ValueError, TypeError):
        problems.append(f"entry {entry.sequence}: its list of rows cannot be read")
        return {}


def _row_problems(session: Session, vouched: Mapping[tuple[str, int], str]) -> Iterator[str]:
    unsettled = set(session.scalars(select(Study.id).where(Study.state == "receiving")))
    for name, table in sealed_tables().items():
        seen: set[int] = set()
        after = 0
        while page := _page(session, table, after):
            for row in page:
                key: int = row.id  # type: ignore[attr-defined]
                seen.add(key)
                known = vouched.get((name, key))
                if known is None:
                    # instances are vouched for when their study is complete
                    if not (isinstance(row, Instance) and row.study_pk in unsettled):
                        yield f"{name} {key}: added without an entry"
                elif known != row.digest():
                    yield f"{name} {key}: changed"
            after = page[-1].id  # type: ignore[attr-defined]
            session.expunge_all()
        yield from (f"{name} {key}: removed" for table_, key in sorted(vouched) if table_ == name and key not in seen)


def _page(session: Session, table: type[Base], after: int) -> list[Base]:
    key = table.id  # type: ignore[attr-defined]
    return list(session.scalars(select(table).where(key > after).order_by(key).limit(_PAGE)))


def count_entries(session: Session) -> int:
    """How many entries there are."""
    return session.scalar(select(func.count()).select_from(AuditEntry)) or 0


def _read_heads(path: Path) -> dict[int, str]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return {int(number): digest for number, digest, _at in (line.split(" ", 2) for line in lines)}
    except (OSError, ValueError) as error:
        raise OutputError(f"not a file of heads ({error})", where=str(path)) from error
