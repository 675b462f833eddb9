"""A running service with the smallest model there is, for the benchmarks of the clinic."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import tomli_w

BUNDLE = Path(__file__).parents[1] / "tests" / "golden" / "bundle_v1"
_STARTED_WITHIN_S = 300
_PROGRAM = [sys.executable, "-m", "resight.cli.main"]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def memory_mb(process: subprocess.Popen[bytes]) -> int:
    """Resident memory of the service and of the processes that read for it."""
    whole = psutil.Process(process.pid)
    return round(sum(one.memory_info().rss for one in [whole, *whole.children()]) / 2**20)


class Running:
    """`resight serve` in a folder; a context manager that ends it.

    Args:
        folder: everything lies there.
        dicom_peers: AE titles that may send; no DICOM node when empty.
        settings: further tables of the settings file.
    """

    def __init__(self, folder: Path, *, dicom_peers: list[str] | None = None, settings: dict[str, Any]) -> None:
        http, self.dicom = free_port(), free_port()
        table: dict[str, Any] = {
            "folder": str(folder / "data"),
            "http": {"port": http},
            "models": [{"name": "chest", "bundle": str(BUNDLE), "engine": "torch", "objects": ["sr"]}],
            **settings,
        }
        if dicom_peers:
            table["dicom"] = {"port": self.dicom, "peers": [{"ae_title": title} for title in dicom_peers]}
        self._file = folder / "serve.toml"
        self._file.write_text(tomli_w.dumps(table), encoding="utf-8")
        self.log, self.url = folder / "log.txt", f"http://127.0.0.1:{http}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*_PROGRAM, "serve", str(self._file)], stdout=log, stderr=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(self.url + "/api/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        raise RuntimeError("the service does not answer")

    def token(self, role: str) -> dict[str, str]:
        """Header of a program with a role."""
        command = [*_PROGRAM, "tokens", "add", str(self._file), f"benchmark {role}", "--role", role]
        secret = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return {"Authorization": f"Bearer {secret}"}
