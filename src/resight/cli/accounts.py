"""`resight accounts`: who may sign in to the service."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from resight.cli.console import result_json, result_table, say

if TYPE_CHECKING:
    from resight.serving import Store

Role = Literal["reader", "admin", "service"]


def add(settings: Path, name: str, *, role: Role = "reader", password_file: Path | None = None) -> int:
    """Create an account.

    The password is asked for, read from standard input where that is no terminal, or taken from a file.

    Args:
        settings: settings file of the service.
        name: name to sign in with.
        role: reader: reads studies and decides; admin: also models, accounts and the audit trail; service: programs.
        password_file: file whose first line is the password.
    """
    from resight.serving.accounts import add_user

    password = _password(password_file)
    store = open_store(settings)
    with store.write() as session:
        add_user(session, name, role, password, by=operator())
    say(f"added: {name} ({role})")
    return 0


def change(
    settings: Path,
    name: str,
    *,
    role: Role | None = None,
    new_password: Annotated[bool, Parameter(negative="")] = False,
    password_file: Path | None = None,
    disabled: bool | None = None,
) -> int:
    """Change an account; its browser sessions end.

    Args:
        settings: settings file of the service.
        name: of the account.
        role: new role.
        new_password: set a new password, asked for as in `resight accounts add`.
        password_file: file whose first line is the new password.
        disabled: shut the account, or open it again with --no-disabled.
    """
    from resight.serving.accounts import change_user

    password = _password(password_file) if new_password or password_file else None
    store = open_store(settings)
    with store.write() as session:
        change_user(session, name, by=operator(), role=role, password=password, disabled=disabled)
    say(f"changed: {name}")
    return 0


def list_(settings: Path, *, as_json: Annotated[bool, Parameter("--json", negative="")] = False) -> int:
    """Show all accounts.

    Args:
        settings: settings file of the service.
        as_json: print the result for programs.
    """
    store = open_store(settings)
    from sqlalchemy import select

    from resight.serving.people import User

    with store.read() as session:
        users = list(session.scalars(select(User).order_by(User.name)))
    rows = [(u.name, u.role, "disabled" if u.disabled else "", u.created_at.date().isoformat()) for u in users]
    if as_json:
        result_json([dict(zip(("name", "role", "state", "since"), row, strict=True)) for row in rows])
    else:
        result_table(("name", "role", "state", "since"), rows)
    return 0


def open_store(settings: Path) -> Store:
    """The database that a settings file names."""
    from resight.errors import require

    require("sqlalchemy", extra="serve")
    from resight.serving import Store, load_service_settings

    return Store(load_service_settings(settings).database_url)


def operator() -> str:
    """How the audit trail names who works at the command line."""
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # no name for this user id
        return f"operator {os.getuid()}"


def _password(file: Path | None) -> str:
    if file is not None:
        return (file.read_text(encoding="utf-8").splitlines() or [""])[0]
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\n")
