"""The database: SQLite in WAL mode by default, PostgreSQL by its URL; opening it brings the schema up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import resight.migrations
from resight.errors import OutputError
from resight.serving import people, schema
from resight.serving.row import Base

TABLES: Final = (schema, people)
"""The files whose tables make up the database."""
_BUSY_TIMEOUT_MS: Final = 30_000
_POOL: Final = 32
"""More than the associations and requests that are served at once."""


class Store:
    """Sessions over the tables of `schema`.

    Args:
        url: address of the database, in SQLAlchemy's form.

    Raises:
        OutputError: it cannot be opened, or was written by a newer version.
    """

    def __init__(self, url: str) -> None:
        address = make_url(url)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        if self.is_sqlite and address.database:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = (
            {} if self.is_sqlite else {"pool_size": 5, "max_overflow": _POOL, "pool_pre_ping": True}
        )
        self.engine = create_engine(address, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        try:
            upgrade(self)
        except SQLAlchemyError as error:
            found = f"the database cannot be used ({type(error).__name__}: {getattr(error, 'orig', error)})"
            raise OutputError(found, where=address.render_as_string(hide_password=True)) from error

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that writes: committed at the end, undone on any error. Writers go one after the other."""
        with (
            self.engine.connect().execution_options(writes=True) as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for looking things up; it sees one state of the database and changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def upgrade(store: Store, revision: str = "head") -> None:
    """Bring the schema to a revision; does nothing where it is there already.

    Raises:
        OutputError: the database is of a newer version of Resight.
    """
    folder = str(Path(resight.migrations.__file__).parent)
    script = ScriptDirectory(folder, version_locations=[folder])
    known = {one.revision for one in script.walk_revisions()}

    def steps(current: Any, _context: Any) -> Any:
        if unknown := set(filter(None, (current,) if isinstance(current, str) else current or ())) - known:
            raise OutputError(
                f"the database is of schema {sorted(unknown)[0]!r}, which this version does not know",
                where=store.engine.url.render_as_string(hide_password=True),
                fix="Install the version of Resight that wrote it.",
            )
        return script._upgrade_revs(revision, current)

    with store.engine.connect().execution_options(writes=True) as connection:
        with EnvironmentContext(Config(), script, fn=steps, destination_rev=revision) as environment:
            environment.configure(connection=connection, target_metadata=Base.metadata)
            with environment.begin_transaction():
                environment.run_migrations()
        connection.commit()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
