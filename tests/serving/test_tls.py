"""The web server as a process of its own that speaks TLS only, and knows its clients by certificate and address."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from serving_certificates import as_client
from serving_processes import Served

from resight.serving.app import build_app
from resight.serving.parts import Parts

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, certificates: dict[str, Path]) -> Iterator[Served]:
    """A service that demands TLS of everybody, and a certificate of every client."""
    keys: dict[str, Any] = {"certificate": str(certificates["server.pem"]), "key": str(certificates["server.key"])}
    keys["client_ca"] = str(certificates["client.pem"])
    one = Served(
        tmp_path_factory.mktemp("tls"), http={"tls": keys}, dicom={"tls": keys}, models=[],
        security={"require_tls": True},
    )  # fmt: skip
    one.url = one.url.replace("http://", "https://")
    one.start(verify=as_client(certificates, "client"))
    yield one
    assert one.stop() == 0


def health(served: Served, context: ssl.SSLContext, url: str = "") -> httpx.Response:
    with httpx.Client(verify=context, timeout=20) as client:
        return client.get((url or served.url) + "/api/health")


def test_a_client_with_the_right_certificate_is_answered(strict: Served, certificates: dict[str, Path]) -> None:
    answer = health(strict, as_client(certificates, "client"))
    assert answer.json() == {"status": "ok"}
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize("name", ["stranger", None])
def test_a_client_with_another_certificate_or_none_is_not(
    strict: Served, certificates: dict[str, Path], name: str | None
) -> None:
    with pytest.raises(httpx.TransportError):
        health(strict, as_client(certificates, name))


def test_plain_http_gets_no_answer(strict: Served, certificates: dict[str, Path]) -> None:
    with pytest.raises(httpx.TransportError):
        health(strict, as_client(certificates, "client"), strict.url.replace("https://", "http://"))


def test_a_client_does_not_believe_another_server(strict: Served, certificates: dict[str, Path]) -> None:
    context = ssl.create_default_context(cafile=certificates["stranger.pem"])
    context.load_cert_chain(certificates["client.pem"], certificates["client.key"])
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        health(strict, context)


def test_old_versions_of_tls_are_refused(strict: Served, certificates: dict[str, Path]) -> None:
    context = as_client(certificates, "client")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", strict.http), timeout=20) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        raise AssertionError("an old version of TLS was spoken")


def test_a_service_that_demands_tls_does_not_start_without(tmp_path: Path) -> None:
    one = Served(tmp_path, models=[], security={"require_tls": True})
    command = [sys.executable, "-m", "resight.cli.main", "serve", str(one.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "require_tls" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("address", "networks", "status"),
    [
        ("10.1.2.3", ["10.1.0.0/16"], 200),
        ("10.2.2.3", ["10.1.0.0/16"], 403),
        ("10.2.2.3", ["10.1.0.0/16", "10.2.2.3/32"], 200),
        ("10.2.2.3", [], 200),
        ("::1", ["10.1.0.0/16"], 403),
        ("fd00::7", ["fd00::/8"], 200),
        ("::ffff:10.1.2.3", ["10.1.0.0/16"], 200),
        ("unix", ["10.1.0.0/16"], 403),
    ],
)
def test_addresses_that_are_not_on_the_list_get_nothing(
    make_service, address: str, networks: list, status: int
) -> None:
    service = make_service(http={"networks": networks})
    with Parts(service) as parts, TestClient(build_app(parts), client=(address, 1)) as client:
        for path in ("/api/health", "/login", "/static/review.css"):
            answer = client.get(path, headers={"X-Forwarded-For": "10.1.0.1", "Forwarded": "for=10.1.0.1"})
            assert answer.status_code == status
            assert (answer.json() == {"detail": "this address is not on the list"}) if status == 403 else True
