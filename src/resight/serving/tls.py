"""TLS 1.2 or newer for HTTP and DICOM (PS3.15 B.10, BCP 195), with certificates of both sides where wanted."""

from __future__ import annotations

import ssl
from pathlib import Path

from resight.errors import SettingsError
from resight.serving.settings import TLS, Destination


def server_context(tls: TLS) -> ssl.SSLContext:
    """The server's side.

    Raises:
        SettingsError: certificate or key cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls.certificate, tls.key, tls.client_ca)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(destination: Destination) -> ssl.SSLContext | None:
    """The client's side of sending results; None where the settings ask for none.

    Raises:
        SettingsError: a file cannot be read.
    """
    if destination.ca is None:
        return None
    return trusting(destination.ca, destination.certificate, destination.key)


def trusting(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A client's side that trusts one authority, and shows a certificate of its own where it has one.

    Raises:
        SettingsError: a file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key, ca)
    return context


def _load(context: ssl.SSLContext, certificate: Path | None, key: Path | None, ca: Path | None) -> None:
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        if ca is not None:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        where = str(certificate or ca)
        raise SettingsError(f"certificate or key cannot be used ({error})", where=where) from error
