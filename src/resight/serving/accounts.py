"""Accounts, browser sessions and tokens: argon2id for passwords (RFC 9106), digests for everything that is a key."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, get_args

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from resight.errors import DataError, require
from resight.serving.audit_trail import append
from resight.serving.people import SignedIn, SignInFailure, Token, User
from resight.serving.row import now
from resight.serving.settings import Role, SecurityOptions
from resight.serving.store import Store

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST_PASSWORD: Final = 12
_LONGEST_PASSWORD: Final = 1024
_PREFIX: Final = "resight_"
"""Tokens begin so, for scanners of leaked secrets."""
_SEEN_EVERY: Final = timedelta(seconds=30)
_ONE_AT_A_TIME: Final = threading.Lock()


@dataclass(frozen=True)
class Principal:
    """Who a request comes from.

    Attributes:
        actor: as the audit trail names it.
        role: what it may do.
        user_pk: row of the person; None for a program.
        csrf: what forms and scripts of this browser session must repeat; None for a token.
    """

    actor: str
    role: Role
    user_pk: int | None = None
    csrf: str | None = None


def add_user(
    session: Session, name: str, role: Role, password: str | None, *, by: str, external_id: str | None = None
) -> User:
    """Create an account.

    Raises:
        DataError: the name is taken or empty, the role unknown, or the password too short.
    """
    _check_role(role)
    if not is_account_name(name):
        raise DataError("no name for an account", expected="1 to 100 printable characters, a letter or digit first")
    if session.scalar(select(User.id).where(User.name == name)):
        raise DataError(f"there is an account {name!r} already")
    hashed = None if password is None else hash_password(password)
    user = User(name=name, role=role, password_hash=hashed, external_id=external_id)
    session.add(user)
    session.flush()
    append(session, "account added", actor=by, subject=f"user {user.id}", details={"role": role}, rows=[user])
    return user


def is_account_name(name: str) -> bool:
    """Whether an account may have a name: it stands in logs, and in tables that spreadsheets take for formulas."""
    return 0 < len(name) <= 100 and name.isprintable() and name[0].isalnum() and name == name.strip()


def change_user(
    session: Session,
    name: str,
    *,
    by: str,
    role: Role | None = None,
    password: str | None = None,
    disabled: bool | None = None,
) -> User:
    """Change role, password or whether the account may be used; its browser sessions end.

    Raises:
        DataError: there is no such account, or the password is too short.
    """
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise DataError(f"no account {name!r}")
    if role is not None:
        _check_role(role)
        user.role = role
    if password is not None:
        user.password_hash = hash_password(password)
    if disabled is not None:
        user.disabled = disabled
    session.execute(delete(SignedIn).where(SignedIn.user_pk == user.id))
    changed = [
        what for what, value in (("role", role), ("password", password), ("disabled", disabled)) if value is not None
    ]
    append(session, "account changed", actor=by, subject=f"user {user.id}", details={"changed": changed}, rows=[user])
    return user


def sign_in(
    store: Store, name: str, password: str, address: str, options: SecurityOptions
) -> tuple[str, SignedIn] | None:
    """Check a password and begin a browser session.

    Passwords are checked one at a time, so that guesses sent together count as guesses sent one by one and take the
    memory of one; and outside of a transaction, so that no study waits for strangers.

    Args:
        store: the database.
        name: of the account.
        password: as typed.
        address: of the client.
        options: how many failures are allowed and how long a session lasts.

    Returns:
        The session's token for the cookie and its row; None where name, password or account is not right.

    Raises:
        DataError: too many failures; the message says how long to wait.
    """
    with _ONE_AT_A_TIME:
        with store.read() as session:
            if wait_s := wait_after_failures(session, name, address, options):
                raise DataError(f"too many failed sign-ins; try again in {wait_s} s")
            stored = session.scalar(select(User.password_hash).where(User.name == name, ~User.disabled))
        # a wrong name takes as long as a wrong password
        right = _matches(stored or _nobody(), password) and stored is not None
        with store.write() as session:
            still = (User.name == name) & (User.password_hash == stored) & ~User.disabled
            user = session.scalar(select(User).where(still)) if right else None
            if user is None:
                session.add(SignInFailure(name_sha256=_sha256(name), address=address))
                append(session, "sign-in failed", actor="nobody", details={"address": address})
                return None
            since = now() - timedelta(seconds=options.sign_in_wait_s)
            over = (SignInFailure.name_sha256 == _sha256(name)) | (SignInFailure.at <= since)
            session.execute(delete(SignInFailure).where(over))
            if stored and _hasher().check_needs_rehash(stored):
                user.password_hash = hash_password(password)
                append(session, "password hashed anew", actor="service", subject=f"user {user.id}", rows=[user])
            return begin_session(session, user, address, options)


def begin_session(session: Session, user: User, address: str, options: SecurityOptions) -> tuple[str, SignedIn]:
    """A new browser session of a person who has shown who they are."""
    token = secrets.token_urlsafe(32)
    session.execute(delete(SignedIn).where(SignedIn.expires_at < now()))
    signed_in = SignedIn(
        token_sha256=_sha256(token),
        user_pk=user.id,
        csrf=secrets.token_urlsafe(32),
        expires_at=now() + timedelta(hours=options.session_hours),
    )
    session.add(signed_in)
    append(session, "signed in", actor=f"user {user.name}", subject=f"user {user.id}", details={"address": address})
    return token, signed_in


def sign_out(session: Session, token: str) -> None:
    """End a browser session; nothing happens where there is none."""
    row = session.scalar(select(SignedIn).where(SignedIn.token_sha256 == _sha256(token)))
    if row is not None:
        append(session, "signed out", actor=f"user {row.user.name}", subject=f"user {row.user_pk}")
        session.delete(row)


def principal_of_session(session: Session, token: str, options: SecurityOptions) -> Principal | None:
    """Who a session cookie belongs to; None where the session has ended or the account may not be used."""
    row = session.scalar(select(SignedIn).where(SignedIn.token_sha256 == _sha256(token)))
    if row is None or row.user.disabled:
        return None
    moment = now()
    if moment >= row.expires_at or moment - row.last_seen_at > timedelta(minutes=options.idle_minutes):
        return None
    return Principal(f"user {row.user.name}", _role(row.user.role), row.user_pk, row.csrf)


def seen(session: Session, token: str) -> None:
    """Note that a browser session is being used, at most twice a minute."""
    moment = now()
    stale = (SignedIn.token_sha256 == _sha256(token)) & (SignedIn.last_seen_at < moment - _SEEN_EVERY)
    session.execute(update(SignedIn).where(stale).values(last_seen_at=moment))


def needs_seen(session: Session, token: str) -> bool:
    """Whether `seen` would write; asked first, so that most requests do not wait for the writer's lock."""
    at = session.scalar(select(SignedIn.last_seen_at).where(SignedIn.token_sha256 == _sha256(token)))
    return at is not None and now() - at > _SEEN_EVERY


def add_token(session: Session, name: str, role: Role, *, by: str, days: float | None = None) -> str:
    """Create a token for a program; it is shown this once.

    Raises:
        DataError: the name is taken, or the role unknown.
    """
    _check_role(role)
    if session.scalar(select(Token.id).where(Token.name == name)):
        raise DataError(f"there is a token {name!r} already")
    secret = _PREFIX + secrets.token_urlsafe(32)
    expires = None if days is None else now() + timedelta(days=days)
    token = Token(name=name, role=role, token_sha256=_sha256(secret), expires_at=expires)
    session.add(token)
    session.flush()
    append(session, "token added", actor=by, subject=f"token {token.id}", details={"role": role}, rows=[token])
    return secret


def revoke_token(session: Session, name: str, *, by: str) -> None:
    """Make a token useless.

    Raises:
        DataError: there is none of that name.
    """
    token = session.scalar(select(Token).where(Token.name == name))
    if token is None:
        raise DataError(f"no token {name!r}")
    token.revoked_at = token.revoked_at or now()
    append(session, "token revoked", actor=by, subject=f"token {token.id}", rows=[token])


def principal_of_token(session: Session, secret: str) -> Principal | None:
    """The program a token belongs to; None where there is none, or it has expired or was revoked."""
    token = session.scalar(select(Token).where(Token.token_sha256 == _sha256(secret)))
    if token is None or token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now()):
        return None
    return Principal(f"token {token.name}", _role(token.role))


def wait_after_failures(session: Session, name: str, address: str, options: SecurityOptions) -> int:
    """Seconds that this name or address has to wait; 0 where it may try."""
    since = now() - timedelta(seconds=options.sign_in_wait_s)
    for same in (SignInFailure.name_sha256 == _sha256(name), SignInFailure.address == address):
        count, last = session.execute(
            select(func.count(), func.max(SignInFailure.at)).where(same, SignInFailure.at > since)
        ).one()
        if count >= options.sign_in_attempts:
            return max(1, round((last - since).total_seconds()))
    return 0


def hash_password(password: str) -> str:
    """Argon2id digest of a password.

    Raises:
        DataError: it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        expected = f"{SHORTEST_PASSWORD} to {_LONGEST_PASSWORD}"
        raise DataError(f"a password of {len(password)} characters", expected=expected)
    return _hasher().hash(password)


def _matches(stored: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    if len(password) > _LONGEST_PASSWORD:
        return False
    try:
        return _hasher().verify(stored, password)
    except (Argon2Error, InvalidHashError):
        return False


@lru_cache
def _hasher() -> PasswordHasher:
    return require("argon2", extra="serve").PasswordHasher()


@lru_cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_role(role: str) -> None:
    if role not in get_args(Role):
        raise DataError(f"unknown role {role!r}", expected=", ".join(get_args(Role)))


def _role(text: str) -> Role:
    _check_role(text)
    return text  # type: ignore[return-value]
