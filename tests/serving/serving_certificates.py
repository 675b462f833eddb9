"""Certificates of a server, of a client it knows, and of a stranger."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from serving_processes import need


def make_certificates(folder: Path) -> dict[str, Path]:
    """Certificate and key of each, signed by nobody else, by file name."""
    openssl = need("openssl")
    for name in ("server", "client", "stranger"):
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return {path.name: path for path in folder.iterdir()}


def as_client(certificates: dict[str, Path], name: str | None) -> ssl.SSLContext:
    """What a client trusts, and the certificate it shows."""
    context = ssl.create_default_context(cafile=certificates["server.pem"])
    if name is not None:
        context.load_cert_chain(certificates[f"{name}.pem"], certificates[f"{name}.key"])
    return context
