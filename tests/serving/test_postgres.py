"""The database on a real PostgreSQL server: the same rows, the same digests, the same triggers as on SQLite."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving_images import content, radiograph
from serving_processes import free_port
from serving_site import make_settings
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import DBAPIError

from resight.serving import append, verify_trail
from resight.serving.audit_trail import count_entries
from resight.serving.parts import Parts
from resight.serving.schema import Study
from resight.serving.service import Service
from resight.serving.worker import Worker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a database on a server of its own; root may not run one, so it runs as `postgres` then."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    programs, folder, port = found[-1].parent, Path(tempfile.mkdtemp(prefix="resight-pg-")), free_port()
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")

    def run(*command: str) -> None:
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            subprocess.run([*user, *command], check=True, stdout=log, stderr=log, timeout=120, cwd="/")

    control, data = str(programs / "pg_ctl"), str(folder / "data")
    run(str(found[-1]), "-D", data, "-U", "resight", "-A", "trust", "-E", "UTF8", "--no-sync")
    run(control, "-D", data, "-w", "-o", f"-h 127.0.0.1 -p {port} -k {folder}", "start")
    try:
        yield f"postgresql+psycopg://resight@127.0.0.1:{port}/postgres"
    finally:
        run(control, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@pytest.fixture
def service(server: str, tmp_path: Path) -> Iterator[Service]:
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    golden = Path(__file__).parents[1] / "golden" / "bundle_v1"
    service = Service(make_settings(tmp_path, golden).model_copy(update={"database": server}))
    yield service
    service.close()


def test_a_study_goes_from_arrival_to_result(service: Service) -> None:
    with Parts(service) as parts:
        for _ in range(2):
            path = parts.intake.spool()
            path.write_bytes(content(radiograph()))
            state = parts.intake.accept(path, "test").state
        assert state == "known"
        worker = Worker(service, parts.intake, parts.models, parts.sandbox)
        worker.settle()
        while (study := worker.next_study()) is not None:
            worker.process(study)
        with service.store.read() as session:
            found = session.scalars(select(Study)).one()
            assert (found.state, found.reason) == ("done", "")
            assert len(found.predictions) == 1
            assert len(found.predictions[0].findings) == 2
            assert verify_trail(session) == []


def test_entries_of_many_writers_make_one_chain(service: Service) -> None:
    def write(number: int) -> None:
        for _ in range(10):
            service.audit("study viewed", actor=f"user {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    with service.store.read() as session:
        assert count_entries(session) == 80
        assert verify_trail(session) == []


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries"])
def test_the_database_refuses_to_change_entries(service: Service, statement: str) -> None:
    service.audit("study viewed", actor="user ann")
    with pytest.raises(DBAPIError, match="written once"), service.store.write() as session:
        session.execute(text(statement))


def test_a_row_changed_behind_the_service_is_found(service: Service) -> None:
    with service.store.write() as session:
        study = Study(study_uid="1.2.3", state="done", risk=0.1)
        session.add(study)
        append(session, "study received", actor="node PACS", rows=[study])
    engine = create_engine(service.settings.database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE studies SET risk = 0.2"))
    engine.dispose()
    with service.store.read() as session:
        assert verify_trail(session) == ["studies 1: changed"]


def test_two_senders_of_one_new_study_make_one_row(service: Service) -> None:
    with Parts(service) as parts:

        def send(number: int) -> str:
            path = parts.intake.spool()
            path.write_bytes(content(radiograph(number, number=number + 1, size_px=16)))
            return parts.intake.accept(path, "test").state

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(send, range(16))) == {"kept"}
    with service.store.read() as session:
        assert len(session.scalars(select(Study)).one().instances) == 16
