"""Start everything a settings file asks for, and stop it in order."""

from __future__ import annotations

import hashlib
import logging
import ssl
import tempfile
from contextlib import ExitStack, suppress
from typing import Any

import uvicorn

from resight.serving.app import build_app
from resight.serving.courier import Courier
from resight.serving.node import Node
from resight.serving.parts import Parts
from resight.serving.row import canonical
from resight.serving.service import Service
from resight.serving.settings import ServiceSettings
from resight.serving.tls import server_context
from resight.serving.watch import Watcher
from resight.serving.worker import Worker, clear_incoming

_log = logging.getLogger(__name__)

_CONNECTIONS = 500
"""Open at once, idle ones too; more are answered 503, so that they do not take the files that studies need."""


def run(settings: ServiceSettings) -> int:
    """Serve until interrupted.

    Returns:
        The exit code.

    Raises:
        SettingsError: a certificate cannot be read.
        OutputError: folder, database or a port cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library in ("alembic", "highdicom", "httpx", "matplotlib"):  # they log identifiers, or every step
        logging.getLogger(library).setLevel(logging.WARNING)
    service = Service(settings)
    clear_incoming(service)
    tempfile.tempdir = str(service.folder / "incoming")  # objects are received on the disk where they are kept
    with ExitStack() as stack:
        parts = stack.enter_context(Parts(service))
        digest = hashlib.sha256(canonical(settings.model_dump(mode="json")).encode()).hexdigest()
        service.audit("service started", actor="service", settings=digest)
        stack.callback(service.audit, "service stopped", actor="service")
        server = uvicorn.Server(server_options(settings, build_app(parts)))
        stack.enter_context(Worker(service, parts.intake, parts.models, parts.sandbox))
        if settings.destinations:
            stack.enter_context(Courier(service))
        if settings.watch is not None:
            stack.enter_context(Watcher(service, settings.watch, parts.intake))
        if settings.dicom is not None:
            node = stack.enter_context(Node(service, settings.dicom, parts.intake))
            _log.info("DICOM: %s at %s:%d", settings.dicom.ae_title, settings.dicom.host, node.port)
        scheme = "http" if settings.http.tls is None else "https"
        _log.info("web: %s://%s:%d", scheme, settings.http.host, settings.http.port)
        for name, problem in parts.models.problems.items():
            _log.warning("the model %s is not in service: %s", name, problem)
        with suppress(KeyboardInterrupt):  # how a service is meant to end
            server.run()
    return 0


def server_options(settings: ServiceSettings, app: Any) -> uvicorn.Config:
    """How uvicorn serves the application.

    Raises:
        SettingsError: a certificate cannot be read.
    """
    http = settings.http
    options: dict[str, Any] = {}
    if http.tls is not None:
        server_context(http.tls)
        options = {"ssl_certfile": http.tls.certificate, "ssl_keyfile": http.tls.key}
        if http.tls.client_ca is not None:
            options |= {"ssl_ca_certs": str(http.tls.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return uvicorn.Config(
        app,
        host=http.host,
        port=http.port,
        access_log=False,  # paths and queries may name patients; the audit trail says who saw what
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=10,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=10,
        **options,
    )
