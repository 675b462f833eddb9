"""Passwords, sessions and tokens: what lets in, what does not, and what ends it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from resight.errors import DataError
from resight.serving import accounts, verify_trail
from resight.serving.accounts import (
    add_token,
    add_user,
    change_user,
    principal_of_session,
    principal_of_token,
    revoke_token,
    sign_in,
)
from resight.serving.people import SignedIn, Token
from resight.serving.row import now
from resight.serving.service import Service
from resight.serving.settings import SecurityOptions

PASSWORD = "correct horse battery"
OPTIONS = SecurityOptions(sign_in_attempts=3, sign_in_wait_s=50)


@pytest.fixture
def ann(service: Service) -> Service:
    with service.store.write() as session:
        add_user(session, "ann", "reader", PASSWORD, by="test")
    return service


def try_password(service: Service, password: str, name: str = "ann", address: str = "10.0.0.1") -> str | None:
    begun = sign_in(service.store, name, password, address, OPTIONS)
    return None if begun is None else begun[0]


def test_a_right_password_opens_a_session_and_no_secret_is_kept(ann: Service) -> None:
    token = try_password(ann, PASSWORD)
    assert token is not None
    with ann.store.read() as session:
        principal = principal_of_session(session, token, OPTIONS)
        kept = str(
            session.execute(text("SELECT * FROM users")).all() + session.execute(text("SELECT * FROM sessions")).all()
        )
        assert verify_trail(session) == []
    assert principal is not None
    assert (principal.actor, principal.role) == ("user ann", "reader")
    assert PASSWORD not in kept
    assert token not in kept
    assert "$argon2id$" in kept


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong horse battery"), ("bob", PASSWORD), ("ann", "x" * 5000)])
def test_a_wrong_name_or_password_does_not(ann: Service, name: str, password: str) -> None:
    assert try_password(ann, password, name) is None


def test_after_some_failures_even_the_right_password_has_to_wait(ann: Service) -> None:
    for _ in range(3):
        assert try_password(ann, "wrong horse battery") is None
    with pytest.raises(DataError, match=r"try again in \d+ s"):
        try_password(ann, PASSWORD, address="10.0.0.2")
    with ann.store.write() as session:
        session.execute(
            text("UPDATE sign_in_failures SET at = :at"), {"at": (now() - timedelta(seconds=51)).isoformat()}
        )
    assert try_password(ann, PASSWORD) is not None


def test_guesses_that_are_sent_together_count_one_by_one_and_keep_no_study_waiting(
    ann: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, most_at_once, at_once = [], 0, 0

    def slowly(_stored: str, password: str) -> bool:
        nonlocal most_at_once, at_once
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        checked.append(password)
        with ann.store.write():  # somebody else writes meanwhile: a study comes in
            time.sleep(0.02)
        at_once -= 1
        return False

    monkeypatch.setattr(accounts, "_matches", slowly)
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(try_password, ann, f"guess number {n}") for n in range(8)]
        errors = [one.exception() for one in told]
    assert (len(checked), most_at_once) == (3, 1)
    assert sum(isinstance(error, DataError) for error in errors) == 5


@pytest.mark.parametrize("name", ["", " ann", "=cmd()", "-1", "a\nuser root", "x" * 101])
def test_a_name_that_would_be_misread_in_a_log_or_a_spreadsheet_is_refused(service: Service, name: str) -> None:
    with pytest.raises(DataError, match="no name for an account"), service.store.write() as session:
        add_user(session, name, "reader", None, by="test")


def test_an_address_that_tries_many_names_has_to_wait(ann: Service) -> None:
    for name in ("a", "b", "c"):
        assert try_password(ann, PASSWORD, name) is None
    with pytest.raises(DataError, match="try again"):
        try_password(ann, PASSWORD)


@pytest.mark.parametrize("column", ["last_seen_at", "expires_at"])
def test_a_session_ends_when_idle_or_too_long(ann: Service, column: str) -> None:
    token = try_password(ann, PASSWORD)
    assert token is not None
    with ann.store.write() as session:
        row = session.scalars(select(SignedIn)).one()
        setattr(row, column, now() - timedelta(minutes=31))
    with ann.store.read() as session:
        assert principal_of_session(session, token, OPTIONS) is None


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "admin"}, {"password": "another horse battery"}])
def test_a_changed_account_has_to_sign_in_again(ann: Service, change: dict[str, object]) -> None:
    token = try_password(ann, PASSWORD)
    with ann.store.write() as session:
        change_user(session, "ann", by="test", **change)  # type: ignore[arg-type]
    with ann.store.read() as session:
        assert principal_of_session(session, token or "", OPTIONS) is None
    assert (try_password(ann, PASSWORD) is not None) == ("role" in change)


def test_tokens_work_until_revoked_or_expired(service: Service) -> None:
    with service.store.write() as session:
        first = add_token(session, "pacs", "service", by="test")
        second = add_token(session, "script", "reader", by="test", days=1)
    with service.store.write() as session:
        assert principal_of_token(session, first).role == "service"  # type: ignore[union-attr]
        assert principal_of_token(session, first[:-1]) is None
        revoke_token(session, "pacs", by="test")
        session.scalars(select(Token).where(Token.name == "script")).one().expires_at = now()
    with service.store.read() as session:
        assert principal_of_token(session, first) is None
        assert principal_of_token(session, second) is None
        kept = str(session.execute(text("SELECT * FROM tokens")).all())
    assert first not in kept


@pytest.mark.parametrize("password", ["short", "", "x" * 2000])
def test_unfit_passwords_are_refused(service: Service, password: str) -> None:
    with pytest.raises(DataError, match="characters; expected 12 to 1024"), service.store.write() as session:
        add_user(session, "bob", "reader", password, by="test")
