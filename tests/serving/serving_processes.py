"""The service, Orthanc and PostgreSQL as processes of their own, on loopback and on free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w

BUNDLE = Path(__file__).parents[1] / "golden" / "bundle_v1"
MODEL = {"name": "chest", "bundle": str(BUNDLE), "modalities": ["DX"], "engine": "torch"}


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def need(program: str) -> str:
    """Path of a Debian program; pynetdicom installs some under the same names elsewhere."""
    found = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def wait_until(is_true: Callable[[], Any], limit_s: float, what: str) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if value := is_true():
                return value
        except (httpx.TransportError, OSError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


class Served:
    """`resight serve` as a process that can be killed and started again."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.http, self.dicom, self.folder = free_port(), free_port(), folder
        self.file = folder / "service.toml"
        base: dict[str, Any] = {
            "folder": str(folder / "data"),
            "quiet_s": 0.5,
            "http": {"port": self.http},
            "dicom": {"port": self.dicom, "peers": [{"ae_title": "SENDER"}, {"ae_title": "ORTHANC"}]},
            "models": [MODEL],
        }
        for key, value in settings.items():
            base[key] = {**base[key], **value} if isinstance(value, dict) and key in base else value
        self.file.write_text(tomli_w.dumps(base), encoding="utf-8")
        self.url = f"http://127.0.0.1:{self.http}"
        self.log = folder / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, limit_s: float = 60, verify: ssl.SSLContext | bool = True) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "resight.cli.main", "serve", str(self.file)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        wait_until(
            lambda: httpx.get(self.url + "/api/health", verify=verify).status_code == 200,
            limit_s,
            "the service answers",
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def command(self, *arguments: str, stdin: str = "") -> str:
        """A verb of the command line on this service."""
        done = subprocess.run(
            [sys.executable, "-m", "resight.cli.main", *arguments],
            input=stdin, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def token(self, role: str) -> dict[str, str]:
        secret = self.command("tokens", "add", str(self.file), f"test {role}", "--role", role).strip()
        return {"Authorization": f"Bearer {secret}"}


@contextmanager
def orthanc(folder: Path, node_port: int, lua: str = "") -> Iterator[tuple[str, int]]:
    """A running Orthanc that knows the node as `ai`; its REST address and DICOM port."""
    program, http, dicom = need("Orthanc"), free_port(), free_port()
    script = folder / "route.lua"
    script.write_text(lua, encoding="utf-8")
    settings = {
        "Name": "archive", "StorageDirectory": str(folder / "orthanc"), "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": http, "DicomPort": dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomModalities": {"ai": ["RESIGHT", "127.0.0.1", node_port]},
        "LuaScripts": [str(script)], "StableAge": 1, "DicomAlwaysAllowStore": True, "Plugins": [],
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{http}"
        wait_until(lambda: httpx.get(url + "/system").status_code == 200, 30, "Orthanc answers")
        yield url, dicom
    finally:
        process.terminate()
        process.wait(timeout=30)
