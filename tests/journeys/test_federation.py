"""A federation of real processes over TLS: a site and the server are killed and come back; strangers stay outside."""

from __future__ import annotations

import email.utils
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pandas as pd
import pytest

from resight.cohorts import PhantomOptions, write_phantom
from resight.errors import TrainingError
from resight.federated.client import _refusal
from resight.federated.provision import provision

SETTINGS = """
name = "three sites"
[cohort]
path = "site.csv"
labels = ["Effusion"]
[recipe]
size_px = [32, 32]
channels = 1
[model.backbone]
name = "resnet"
depth = 20
width = 4
[model.clinical]
columns = ["age", "sex"]
[training]
optimizer = "sgd"
momentum = 0.0
learning_rate = 0.05
batch_size = 8
precision = "fp32"
[evaluation]
bootstrap = 20
[federation]
rounds = 5
local_epochs = 3
min_sites = 2
timeout_s = 40
"""


class Federation:
    """Processes of one federation in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, {}
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "experiment.toml").write_text(SETTINGS)
        provision(folder / "kits", ["north", "south", "west"], f"127.0.0.1:{self.port}")

    def start(self, name: str, *words: object, before: str = "") -> None:
        """Start a command; `before` is Python that runs first in its process, to make it unlike the others."""
        log = (self.folder / f"{name}.log").open("ab")
        program = f"import sys\n{before}\nfrom resight.cli.main import main\nsys.exit(main())"
        command = [sys.executable, "-c", program, "federate", *map(str, words)]
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        log.close()

    def server(self, *words: str) -> None:
        kit, out = self.folder / "kits" / "server", self.folder / "server"
        self.start("server", "server", "experiment.toml", "--kit", kit, "--out", out, *words)

    def site(self, name: str, kit: Path | None = None, title: str = "", before: str = "") -> None:
        kit, data = kit or self.folder / "kits" / "sites" / name, f"cohort.path={self.folder / f'{name}.csv'}"
        title = title or name
        words = ("--kit", kit, "--out", self.folder / title, "--set", data, "--set", "cohort.images=phantom")
        self.start(title, "client", "experiment.toml", *words, "--wait-s", "60", before=before)

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def rounds(self) -> list[dict[str, object]]:
        path = self.folder / "server" / "rounds.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for line in lines if "moved" in (entry := json.loads(line))]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def until(self, condition: Callable[[], bool], seconds: float = 240.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            logs = "\n".join(f"{name}: {self.log(name)[-800:]}" for name in self.processes)
            assert time.monotonic() < end, logs
            time.sleep(0.05)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    write_phantom(PhantomOptions(images=120, size_px=64), tmp_path / "phantom")
    table = pd.read_csv(tmp_path / "phantom" / "cohort.csv", dtype=str)
    table = table[["image", "patient_id", "age", "sex", "Effusion"]]
    site = pd.factorize(table["patient_id"])[0] % 3
    for number, name in enumerate(("north", "south", "west")):
        table[site == number].to_csv(tmp_path / f"{name}.csv", index=False)
    found = Federation(tmp_path)
    yield found
    for process in found.processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_site_and_the_server_are_killed_and_come_back(federation: Federation, tmp_path: Path) -> None:
    federation.server()
    for name in ("north", "south", "west"):
        federation.site(name)
    federation.until(lambda: any(len(entry["names"]) == 3 for entry in federation.rounds()))

    federation.kill("west")
    federation.until(lambda: federation.rounds()[-1]["names"] == ["north", "south"])
    federation.kill("server")
    before = federation.rounds()
    federation.site("west")
    federation.server("--resume")
    federation.until(lambda: all(p.poll() is not None for p in federation.processes.values()))

    assert {name: p.returncode for name, p in federation.processes.items()} == dict.fromkeys(federation.processes, 0)
    found = json.loads((tmp_path / "server" / "federation.json").read_text())["outcomes"]["federated"]
    assert [entry["round"] for entry in found["rounds"]] == list(range(5))
    assert found["rounds"][: len(before)] == before
    assert "west" in found["rounds"][-1]["names"]
    assert sorted(found["sites"]) == ["north", "south", "west"]
    assert (tmp_path / "server" / "bundle" / "model.safetensors").is_file()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "north" / "ledger.jsonl").read_text().splitlines()]
    assert kinds.count("train") >= 5
    assert "Traceback" not in "".join(federation.log(name) for name in federation.processes)
    assert "west takes part with" in federation.log("server")
    assert "west: fell silent during training" in federation.log("server")
    assert "no server at 127.0.0.1" in federation.log("north")
    manifest = json.loads((tmp_path / "server" / "bundle" / "manifest.json").read_text())
    assert [column["name"] for column in manifest["encoding"]["columns"]] == ["age", "sex"]


@pytest.mark.slow
def test_strangers_stay_outside_and_a_taken_port_is_one_line(federation: Federation, tmp_path: Path) -> None:
    federation.server()
    federation.until(lambda: "listening on" in federation.log("server"))
    address = ("127.0.0.1", federation.port)

    provision(tmp_path / "others", ["north", "south"], f"127.0.0.1:{federation.port}")
    federation.site("north", tmp_path / "others" / "sites" / "north")
    federation.start(
        "again", "server", "experiment.toml", "--kit", tmp_path / "kits" / "server", "--out", tmp_path / "again"
    )
    for name in ("north", "again"):
        federation.until(lambda name=name: federation.processes[name].poll() is not None)
    assert federation.processes["north"].returncode == 6
    assert "TLS was refused" in federation.log("north").splitlines()[-1]
    assert federation.processes["again"].returncode == 7
    assert "cannot listen there" in federation.log("again").splitlines()[-1]
    assert not (tmp_path / "again").exists()

    authority = tmp_path / "kits" / "server" / "ca.crt"
    none = ssl.create_default_context(cafile=str(authority))
    assert not _answers(none, address), "the server answers without a certificate"
    own = ssl.create_default_context(cafile=str(authority))
    own.load_cert_chain(tmp_path / "kits/sites/north/site.crt", tmp_path / "kits/sites/north/site.key")
    assert _answers(own, address), "the server does not answer a site"
    for name, days in (("foreign", 1.0), ("expired", -0.001)):
        key, certificate = _certificate(tmp_path / name, tmp_path / "kits" / "ca", days, foreign=name == "foreign")
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        assert not _answers(context, address), f"the server answers a {name} certificate"


OTHER_VERSION = """
import resight.federated.site as site
site.version = lambda _: "99.0"
"""
OTHER_CLOCK = """
import datetime, time
import flwr.supernode.node_auth_http_interceptor as signer
clock, stamp = time.time, signer.now
time.time = lambda: clock() + ({seconds})
signer.now = lambda: stamp() + datetime.timedelta(seconds={seconds})
"""


@pytest.mark.slow
def test_sites_that_do_not_fit_end_with_one_line_that_says_why(federation: Federation, tmp_path: Path) -> None:
    federation.server()
    federation.until(lambda: "listening on" in federation.log("server"))
    sites = tmp_path / "kits" / "sites"

    unlisted = tmp_path / "unlisted-kit"
    shutil.copytree(sites / "north", unlisted)
    key, certificate = _certificate(tmp_path / "new", tmp_path / "kits" / "ca", 1.0, foreign=False)
    shutil.copy(key, unlisted / "site.key")
    shutil.copy(certificate, unlisted / "site.crt")

    federation.site("north", unlisted, "unlisted")
    federation.site("south", title="newer", before=OTHER_VERSION)
    federation.site("west", title="fast", before=OTHER_CLOCK.format(seconds=60))
    expected = {
        "unlisted": "this site's key is not on the server's roster",
        "newer": "the server does not take this site (version '99.0' at the site, '0.1.0' at the server)",
        "fast": "seconds ahead of the server's. Set the clock",
    }
    for title, reason in expected.items():
        federation.until(lambda title=title: federation.processes[title].poll() is not None)
        assert federation.processes[title].returncode == 6, federation.log(title)
        assert reason in federation.log(title).splitlines()[-1]
        assert "Traceback" not in federation.log(title)
        assert not (tmp_path / title / "predictions.csv").exists()
    lines = [json.loads(line) for line in (tmp_path / "server" / "rounds.jsonl").read_text().splitlines()]
    assert [(line["site"], line["reason"]) for line in lines] == [
        ("south", "version '99.0' at the site, '0.1.0' at the server")
    ]
    assert federation.processes["server"].poll() is None
    assert "Traceback" not in federation.log("server")


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # Flower's import of click; the other tests import it elsewhere
@pytest.mark.parametrize(
    ("ahead", "reason"),
    [
        (7.0, "clock is 7 seconds ahead of the server's. Set the clock"),
        (-400.0, "clock is 400 seconds behind the server's. Set the clock"),
        (-200.0, "does not accept this site's key"),
        (0.0, "does not accept this site's key"),
    ],
)
def test_a_signature_that_is_refused_names_the_clock_where_it_is_the_clock(
    monkeypatch: pytest.MonkeyPatch, ahead: float, reason: str
) -> None:
    now = 1.8e9
    monkeypatch.setattr(time, "time", lambda: now + ahead)
    answer = httpx.Response(401, headers={"date": email.utils.formatdate(now, usegmt=True)})
    error = httpx.HTTPStatusError("401", request=httpx.Request("POST", "https://server"), response=answer)
    with pytest.raises(TrainingError, match=reason) as caught:
        _refusal(error, "server:9443")
    assert "\n" not in str(caught.value)


def _answers(context: ssl.SSLContext, address: tuple[str, int]) -> bool:
    try:
        with (
            socket.create_connection(address, 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as s,
        ):
            s.sendall(b"GET /v1/fleet/get-run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return s.recv(8) == b"HTTP/1.1"
    except (ssl.SSLError, ConnectionError):
        return False


def _certificate(folder: Path, authority: Path, days: float, *, foreign: bool) -> tuple[Path, Path]:
    """A site's key and certificate, of another authority or of the federation's own, valid for some days."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    signer = ec.generate_private_key(ec.SECP384R1())
    if not foreign:
        signer = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(
        issuer_name=issuer.subject,
        subject_name=x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "north")]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=2),
        not_valid_after=now + timedelta(days=days),
    ).sign(signer, hashes.SHA256())
    folder.mkdir()
    of = serialization
    private = key.private_bytes(of.Encoding.PEM, of.PrivateFormat.PKCS8, of.NoEncryption())
    (folder / "key").write_bytes(private)
    (folder / "crt").write_bytes(certificate.public_bytes(of.Encoding.PEM))
    return folder / "key", folder / "crt"
