"""Results on their way to an archive by STOW-RS: another service here is the archive, and it is away at times."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from serving_images import content, radiograph
from serving_processes import free_port, wait_until
from serving_site import Site, make_settings
from sqlalchemy import select

from resight.serving.courier import SENDERS, Courier
from resight.serving.parts import Parts
from resight.serving.row import now
from resight.serving.run import server_options
from resight.serving.schema import Delivery, Instance
from resight.serving.service import Service
from resight.serving.settings import Destination
from resight.serving.worker import Worker


@pytest.fixture
def archive(site: Site) -> Iterator[str]:
    """The shared service on a real port; address of its studies."""
    port = free_port()
    settings = site.parts.service.settings
    settings = settings.model_copy(update={"http": settings.http.model_copy(update={"port": port})})
    server = uvicorn.Server(server_options(settings, site.client.app))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 60, "the archive answers")
    yield f"http://127.0.0.1:{port}/dicom-web/studies"
    server.should_exit = True
    thread.join(30)


def deliveries(service: Service) -> list[Delivery]:
    with service.store.read() as session:
        return list(session.scalars(select(Delivery)))


def due_now(service: Service) -> None:
    with service.store.write() as session:
        for one in session.scalars(select(Delivery)):
            one.next_at = now()


def test_results_wait_and_arrive_once(site: Site, archive: str, tmp_path: Path) -> None:
    uid, token = site.uid(), tmp_path / "token"
    token.write_text("wrong")
    golden = Path(__file__).parents[1] / "golden" / "bundle_v1"
    destination = {"name": "archive", "kind": "stow", "url": archive, "token_file": token, "timeout_s": 20}
    settings = make_settings(tmp_path, golden)
    settings = settings.model_copy(update={"destinations": (Destination.model_validate(destination),)})
    service = Service(settings)
    with Parts(service) as parts:
        path = parts.intake.spool()
        path.write_bytes(content(radiograph(study=uid)))
        parts.intake.accept(path, "test")
        worker = Worker(service, parts.intake, parts.models, parts.sandbox)
        worker.settle()
        worker.process(1)
        courier = Courier(service)
        courier.deliver_due()
        (waiting,) = deliveries(service)
        assert waiting.delivered_at is None
        assert "401" in waiting.last_error
        assert waiting.next_at > now()
        courier.deliver_due()
        assert deliveries(service)[0].attempts == 1  # its time has not come
        token.write_text(site.tokens["service"])
        with service.store.write() as session:  # the clock was set back by years
            session.get_one(Delivery, waiting.id).next_at = now() + timedelta(days=900)
        courier.deliver_due()
        courier.deliver_due()
        (arrived,) = deliveries(service)
        assert arrived.delivered_at is not None
        assert (arrived.attempts, arrived.last_error) == (2, "")
    with site.parts.service.store.read() as session:
        (kept,) = session.scalars(select(Instance).where(Instance.study.has(study_uid=uid))).all()
    assert kept.sop_class_uid.startswith("1.2.840.10008.5.1.4.1.1.88.")
    site.work()


def test_an_archive_that_never_answers_is_given_up_after_its_time(tmp_path: Path) -> None:
    file = tmp_path / "report.dcm"
    file.write_bytes(content(radiograph()))
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        port = deaf.getsockname()[1]
        for kind, where in (("stow", {"url": f"http://127.0.0.1:{port}/studies"}), ("c-store", {"port": port})):
            destination = Destination.model_validate({"name": "a", "kind": kind, "timeout_s": 0.5, **where})
            assert SENDERS[kind](destination, {7: file}, "RESIGHT").keys() == {7}
