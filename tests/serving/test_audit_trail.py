"""Whatever is done to the trail or to a row it vouches for, `verify_trail` says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from resight.serving import append, verify_trail
from resight.serving.accounts import add_user
from resight.serving.audit_trail import export_head
from resight.serving.schema import Study
from resight.serving.service import Service

_UNLOCK = [f"DROP TRIGGER audit_entries_no_{what}" for what in ("update", "delete")]


@pytest.fixture
def trail(service: Service) -> Service:
    with service.store.write() as session:
        add_user(session, "ann", "reader", "correct horse battery", by="test")
        study = Study(study_uid="1.2.3", state="queued", patient_name="Doe^Jane")
        session.add(study)
        append(session, "study received", actor="node PACS", subject="study 1", rows=[study])
        for number in range(5):
            append(session, "study viewed", actor="user ann", subject="study 1", details={"number": number})
    service.export_head()
    return service


def problems(service: Service, heads: Path | None = None) -> list[str]:
    with service.store.read() as session:
        return verify_trail(session, heads)


def tamper(service: Service, *statements: str) -> None:
    """Behind the service's back, with the database's own tools."""
    engine = create_engine(service.settings.database_url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_an_untouched_trail_has_no_problems_and_names_no_patient(trail: Service) -> None:
    assert problems(trail, trail.settings.heads_file) == []
    with trail.store.read() as session:
        everything = str(session.execute(text("SELECT * FROM audit_entries")).all())
    assert "Doe" not in everything
    assert "study viewed" in everything


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries"])
def test_the_database_refuses_to_change_entries(trail: Service, statement: str) -> None:
    with pytest.raises(DBAPIError, match="written once"), trail.store.write() as session:
        session.execute(text(statement))


@pytest.mark.parametrize("column", ["at", "actor", "action", "subject", "details", "rows", "previous", "hash"])
def test_a_changed_entry_is_found(trail: Service, column: str) -> None:
    tamper(trail, *_UNLOCK, f"UPDATE audit_entries SET {column} = {column} || ' ' WHERE sequence = 4")
    assert any("entry 4: changed" in problem for problem in problems(trail))


def test_a_removed_entry_is_found(trail: Service) -> None:
    tamper(trail, *_UNLOCK, "DELETE FROM audit_entries WHERE sequence = 4")
    assert "entry 4 to 4: removed" in problems(trail)


def test_exchanged_entries_are_found(trail: Service) -> None:
    tamper(
        trail,
        *_UNLOCK,
        "UPDATE audit_entries SET sequence = -1 WHERE sequence = 4",
        "UPDATE audit_entries SET sequence = 4 WHERE sequence = 5",
        "UPDATE audit_entries SET sequence = 5 WHERE sequence = -1",
    )
    assert {"entry 4: changed", "entry 5: changed"} <= set(problems(trail))


def test_entries_cut_off_at_the_end_are_found_by_the_exported_head(trail: Service) -> None:
    heads = trail.settings.heads_file
    tamper(trail, *_UNLOCK, "DELETE FROM audit_entries WHERE sequence > 4")
    assert problems(trail) == []
    assert problems(trail, heads) == ["entry 5 to 7: cut off; a head of them was exported"]


def test_a_trail_rewritten_as_a_whole_is_found_by_the_exported_head(trail: Service) -> None:
    tamper(trail, *_UNLOCK, "DELETE FROM audit_entries WHERE sequence = 7")
    with trail.store.write() as session:
        append(session, "study viewed", actor="user bob", subject="study 1")
    assert problems(trail) == []
    assert problems(trail, trail.settings.heads_file) == ["entry 7: is not the one whose head was exported"]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE studies SET risk = 0.1", "studies 1: changed"),
        ("UPDATE studies SET patient_name = 'Roe^Richard'", "studies 1: changed"),
        ("UPDATE users SET role = 'admin'", "users 1: changed"),
        ("DELETE FROM users", "users 1: removed"),
        (
            "INSERT INTO users SELECT 2, 'eve', role, password_hash, 'x', 0, created_at FROM users",
            "users 2: added without",
        ),
    ],
)
def test_a_row_changed_behind_the_service_is_found(trail: Service, statement: str, found: str) -> None:
    tamper(trail, statement)
    assert [problem[: len(found)] for problem in problems(trail)] == [found]


def test_a_head_is_exported_once(trail: Service) -> None:
    with trail.store.read() as session:
        newest = export_head(session, trail.settings.heads_file)
    assert newest is not None
    assert trail.settings.heads_file.read_text() == newest.line()
