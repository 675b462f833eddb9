"""Start everything a settings file asks for, and stop it in order."""

from __future__ import annotations

import ssl
from typing import Any

import uvicorn

from resight.errors import SettingsError
from resight.serving.app import build_app
from resight.serving.service import Service
from resight.serving.settings import TLS, ServiceSettings


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
        check_tls(http.tls)
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


def check_tls(tls: TLS) -> ssl.SSLContext:
    """The server's side of TLS 1.2 or newer (PS3.15 B.10, BCP 195).

    Raises:
        SettingsError: certificate or key cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"certificate or key cannot be used ({error})", where=str(tls.certificate)) from error
    return context
