"""Results on their way to the archive: C-STORE or STOW-RS, tried again with growing waits until they have arrived."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload

from resight.errors import ResightError, require
from resight.serving.audit_trail import append
from resight.serving.rounds import Rounds
from resight.serving.row import now
from resight.serving.schema import Delivery
from resight.serving.service import Service
from resight.serving.settings import Destination
from resight.serving.tls import client_context

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_AT_ONCE: Final = 50
_WARNINGS: Final = range(0xB000, 0xC000)
"""C-STORE stored the object and had to coerce or drop elements."""


class Courier(Rounds):
    """One thread that sends what is due; a context manager that ends it.

    Args:
        service: database, folders and destinations.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service.stopping, "courier", _TICK_S)
        self._service = service
        self._destinations = {one.name: one for one in service.settings.destinations}

    def round(self) -> None:
        """Send what is due."""
        self.deliver_due()

    def deliver_due(self) -> None:
        """Send everything whose time has come, destination by destination."""
        for name, destination in self._destinations.items():
            due = self._due(name)
            if not due:
                continue
            paths = {one.id: self._service.folder / one.object.file for one in due}
            problems = SENDERS[destination.kind](destination, paths, self._calling)
            for delivery in due:
                self._note(delivery.id, problems.get(delivery.id, ""))

    @property
    def _calling(self) -> str:
        dicom = self._service.settings.dicom
        return "RESIGHT" if dicom is None else dicom.ae_title

    def _due(self, destination: str) -> list[Delivery]:
        moment = now()
        longest = timedelta(seconds=2 * self._service.settings.delivery.longest_wait_s)
        # a time further away than any wait was written before the clock was set back
        ready = or_(Delivery.next_at <= moment, Delivery.next_at > moment + longest)
        mine = (Delivery.destination == destination) & Delivery.delivered_at.is_(None)
        wanted = select(Delivery).options(joinedload(Delivery.object)).where(mine, ready)
        with self._service.store.read() as session:
            return list(session.scalars(wanted.order_by(Delivery.id).limit(_AT_ONCE)))

    def _note(self, key: int, problem: str) -> None:
        options = self._service.settings.delivery
        with self._service.store.write() as session:
            delivery = session.get_one(Delivery, key)
            subject = f"object {delivery.object_pk}"
            delivery.attempts += 1
            delivery.last_error = problem
            if not problem:
                delivery.delivered_at = now()
                details = {"destination": delivery.destination, "attempts": delivery.attempts}
                append(session, "result delivered", actor="service", subject=subject, details=details)
                return
            wait_s = min(options.first_wait_s * 2.0 ** min(delivery.attempts - 1, 30), options.longest_wait_s)
            delivery.next_at = now() + timedelta(seconds=wait_s)
        _log.warning("%s was not delivered to %s: %s", subject, delivery.destination, problem)


def send_by_store(destination: Destination, paths: Mapping[int, Path], calling: str) -> dict[int, str]:
    """Send files over one association.

    Args:
        destination: where to.
        paths: files by a key of the caller's.
        calling: our AE title.

    Returns:
        Why a file was not taken, by its key; empty when all were.
    """
    require("pynetdicom", extra="clinic")
    import pydicom
    from pynetdicom import AE, build_context

    datasets: dict[int, Dataset] = {}
    problems: dict[int, str] = {}
    for key, path in paths.items():
        try:
            datasets[key] = pydicom.dcmread(path)
        except (OSError, ValueError) as error:
            problems[key] = f"the file cannot be read ({type(error).__name__})"
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = destination.timeout_s
    entity.connection_timeout = destination.timeout_s
    kinds = dict.fromkeys((d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets.values())
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
    try:
        security = client_context(destination)
    except ResightError as error:
        return dict.fromkeys(paths, error.found)
    arguments: dict[str, Any] = {"ae_title": destination.ae_title}
    if security is not None:
        arguments["tls_args"] = (security, destination.host)
    association = entity.associate(destination.host, destination.port, contexts, **arguments)
    if not association.is_established:
        why = "rejected the association" if association.is_rejected else "does not answer"
        return dict.fromkeys(paths, f"the archive {why}")
    try:
        for key, dataset in datasets.items():
            problems |= {key: why} if (why := _store(association, dataset)) else {}
    finally:
        association.release()
    return problems


def send_by_stow(destination: Destination, paths: Mapping[int, Path], _calling: str) -> dict[int, str]:
    """Send files one by one by STOW-RS (PS3.18 10.5); arguments and result as `send_by_store`."""
    httpx = require("httpx", extra="serve")
    problems: dict[int, str] = {}
    try:
        headers = {"Accept": "application/dicom+json"}
        if destination.token_file is not None:
            headers["Authorization"] = f"Bearer {destination.token_file.read_text(encoding='utf-8').strip()}"
        verify = client_context(destination) or True
        client = httpx.Client(headers=headers, timeout=destination.timeout_s, verify=verify)
    except (ResightError, OSError) as error:
        return dict.fromkeys(paths, f"the settings of the destination cannot be used ({type(error).__name__})")
    with client:
        for key, path in paths.items():
            boundary = uuid.uuid4().hex
            try:
                part = b"--%s\r\nContent-Type: application/dicom\r\n\r\n" % boundary.encode()
                body = part + path.read_bytes() + b"\r\n--%s--\r\n" % boundary.encode()
                kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
                answer = client.post(destination.url, content=body, headers={"Content-Type": kind})
            except (httpx.HTTPError, OSError) as error:
                problems[key] = f"the archive does not answer ({type(error).__name__})"
                continue
            if answer.status_code not in (200, 202):
                problems[key] = f"the archive answers {answer.status_code}"
    return problems


SENDERS: Final[Mapping[str, Callable[[Destination, Mapping[int, Path], str], dict[int, str]]]] = {
    "c-store": send_by_store,
    "stow": send_by_stow,
}


def _store(association: Any, dataset: Dataset) -> str:
    try:
        status = association.send_c_store(dataset).get("Status")
    except (RuntimeError, ValueError, AttributeError) as error:
        return f"could not be sent ({type(error).__name__})"
    if status is None:
        return "the archive did not answer in time"
    return "" if status == 0 or status in _WARNINGS else f"the archive answers 0x{status:04X}"
