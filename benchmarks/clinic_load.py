"""How many images a second the service answers, at what latency, whether memory stays flat, and what overload does.

python benchmarks/clinic_load.py --seconds 60 --out benchmarks/results/clinic/load.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import tomli_w
from PIL import Image as Picture

BUNDLE = Path(__file__).parents[1] / "tests" / "golden" / "bundle_v1"
IN_FLIGHT, STARTED_WITHIN_S = 8, 300
SIDE_PX = 512


@dataclass
class Answers:
    """What clients of one phase were told."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    told_when: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: httpx.Response, seconds: float) -> None:
        with self._lock:
            self.statuses[answer.status_code] += 1
            self.told_when += answer.status_code == 503 and "retry-after" in answer.headers
            if answer.status_code == 200:
                self.seconds.append(seconds)

    def figures(self, took_s: float) -> dict[str, Any]:
        quantiles = np.quantile(self.seconds, [0.5, 0.95, 0.99]) if self.seconds else [float("nan")] * 3
        return {
            "answers by status": {str(status): count for status, count in sorted(self.statuses.items())},
            "503 with Retry-After": self.told_when,
            "requests/s": round(len(self.seconds) / took_s, 2),
            "latency (s), 50/95/99 percent": [round(float(value), 3) for value in quantiles],
        }


def load(url: str, headers: dict[str, str], clients: int, seconds: float, image: bytes) -> dict[str, Any]:
    """Some clients, each asking again as soon as it has its answer."""
    answers, until = Answers(), time.monotonic() + seconds

    def ask(_number: int) -> None:
        with httpx.Client(headers=headers, timeout=120) as client:
            while (begun := time.monotonic()) < until:
                answer = client.post(url + "/api/predict", files=[("files", ("image.png", image))])
                answers.add(answer, time.monotonic() - begun)
                if answer.status_code == 503:
                    time.sleep(0.05)  # less than Retry-After says: this client does not behave

    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))
    return {"clients": clients, **answers.figures(time.monotonic() - begun)}


def memory_mb(process: subprocess.Popen[bytes]) -> int:
    """Resident memory of the service and of the processes that read for it."""
    whole = psutil.Process(process.pid)
    return round(sum(one.memory_info().rss for one in [whole, *whole.children()]) / 2**20)


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str, dict[str, str]]:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    settings = {
        "folder": str(folder / "data"),
        "http": {"port": port},
        "models": [{"name": "chest", "bundle": str(BUNDLE), "engine": "torch"}],
        "limits": {"in_flight": IN_FLIGHT},
    }
    file = folder / "serve.toml"
    file.write_text(tomli_w.dumps(settings), encoding="utf-8")
    program = [sys.executable, "-m", "resight.cli.main"]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([*program, "serve", str(file)], stdout=log, stderr=log)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url + "/api/health").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.2)
    command = [*program, "tokens", "add", str(file), "load", "--role", "service"]
    secret = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return process, url, {"Authorization": f"Bearer {secret}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of the steady phase; overload takes a third of it")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX), dtype=np.uint8)
    Picture.fromarray(pixels).save(stream, "PNG")
    image = stream.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        process, url, headers = start(Path(folder))
        try:
            load(url, headers, 2, 3, image)
            found: dict[str, Any] = {"image": f"PNG {SIDE_PX} x {SIDE_PX}", "requests in flight at most": IN_FLIGHT}
            memory = [memory_mb(process)]
            for name, clients, share in (
                ("steady, first half", 2, 0.5),
                ("steady, second half", 2, 0.5),
                ("overload", 4 * IN_FLIGHT, 1 / 3),
                ("after it", 2, 1 / 6),
            ):
                found[name] = load(url, headers, clients, options.seconds * share, image)
                memory.append(memory_mb(process))
            found["memory (MB) before and after each phase"] = memory
            found["load of the machine (1 min), cores"] = [round(os.getloadavg()[0], 1), os.cpu_count()]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
