"""Start everything a settings file asks for, and stop it in order."""

from __future__ import annotations

import ssl
from typing import Any

import uvicorn

from resight.serving.app import build_app
from resight.serving.service import Service
from resight.serving.settings import ServiceSettings
from resight.serving.tls import server_context


def run(settings: ServiceSettings) -> int:
    """Serve until interrupted.

    Returns:
        The exit code.

    Raises:
        SettingsError: a certificate cannot be read.
        OutputError: folder, database or a port cannot be used.
    """
    service = Service(settings)
    service.audit("service started", actor="service")
    try:
        uvicorn.Server(server_options(settings, build_app(service))).run()
    finally:
        service.audit("service stopped", actor="service")
        service.close()
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
        timeout_keep_alive=10,
        timeout_graceful_shutdown=10,
        **options,
    )
