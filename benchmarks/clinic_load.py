"""The requests of a half-hour rush in five minutes: latency, memory, and what overload does.

python -m benchmarks.clinic_load --out benchmarks/results/clinic/load.json

A rush of half an hour at two images a second is 3600 requests, many times what a large department sends: 500,000
images a year on 250 days of ten hours are one in 18 s. The 3600 come here at random moments (Poisson) within 300 s,
whether or not earlier ones have been answered, and latency counts from the moment a request was due. Then four times
as many clients as the service works on at once ask without waiting as they are told, and the rush goes on for 30 s.
"""

from __future__ import annotations

import argparse
import io
import json
import os
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
from PIL import Image as Picture

from benchmarks.clinic_process import Running, memory_mb

IN_FLIGHT, SIDE_PX = 8, 512
RUSH_S, RUSH_PER_S, STEADY_S, OVERLOAD_S, AFTER_S = 1800, 2.0, 300.0, 40.0, 30.0
_SENDERS, _SAMPLE_S = 32, 15.0


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
                assert answer.json()["images"][0]["findings"]
                self.seconds.append(seconds)

    def figures(self, took_s: float) -> dict[str, Any]:
        quantiles = np.quantile(self.seconds, [0.5, 0.95, 0.99]) if self.seconds else [float("nan")] * 3
        return {
            "answers by status": {str(status): count for status, count in sorted(self.statuses.items())},
            "503 with Retry-After": self.told_when,
            "seconds": round(took_s, 1),
            "answered requests/s": round(len(self.seconds) / took_s, 2),
            "latency (s), 50/95/99 percent": [round(float(value), 3) for value in quantiles],
        }


class Asking:
    """Sends one image again and again.

    Args:
        service: which is asked.
        image: as PNG.
    """

    def __init__(self, service: Running, image: bytes) -> None:
        self._client = httpx.Client(
            base_url=service.url,
            headers=service.token("service"),
            timeout=120,
            limits=httpx.Limits(max_connections=2 * _SENDERS, max_keepalive_connections=2 * _SENDERS),
        )
        self._files = [("files", ("image.png", image))]

    def once(self) -> httpx.Response:
        return self._client.post("/api/predict", files=self._files)

    def at_random(self, per_s: float, seconds: float, seed: int) -> dict[str, Any]:
        """Requests at moments that do not wait for answers, nor for each other."""
        rng = np.random.default_rng(seed)
        due = np.sort(rng.uniform(0, seconds, round(per_s * seconds)))
        answers, begun = Answers(), time.monotonic()

        def ask(moment: float) -> None:
            answers.add(self.once(), time.monotonic() - begun - moment)

        with ThreadPoolExecutor(_SENDERS) as pool:
            for moment in due:
                time.sleep(max(0.0, begun + moment - time.monotonic()))
                pool.submit(ask, float(moment))
        return {"requests": len(due), "requests/s": per_s, **answers.figures(time.monotonic() - begun)}

    def without_pause(self, clients: int, seconds: float) -> dict[str, Any]:
        """Clients that ask again as soon as they have an answer, and hardly wait when told to."""
        answers, until, begun = Answers(), time.monotonic() + seconds, time.monotonic()

        def ask(_number: int) -> None:
            while (asked := time.monotonic()) < until:
                answer = self.once()
                answers.add(answer, time.monotonic() - asked)
                if answer.status_code == 503:
                    time.sleep(0.05)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, range(clients)))
        return {"clients": clients, **answers.figures(time.monotonic() - begun)}


class Memory:
    """Resident memory of the service over time; a context manager that ends the sampling."""

    def __init__(self, service: Running) -> None:
        self.samples: list[tuple[float, int]] = []
        self._service, self._over = service, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        begun = time.monotonic()
        while True:
            self.samples.append((round(time.monotonic() - begun), memory_mb(self._service.process)))
            if self._over.wait(_SAMPLE_S):
                return


def measure(folder: Path, seconds: float, image: bytes) -> dict[str, Any]:
    """All phases against one service."""
    requests = RUSH_PER_S * RUSH_S
    with Running(folder, settings={"limits": {"in_flight": IN_FLIGHT}}) as service:
        service.wait()
        asking = Asking(service, image)
        asking.at_random(2, 5, seed=0)  # reading processes start, code is loaded
        with Memory(service) as memory:
            rate = requests / STEADY_S
            steady = asking.at_random(rate, seconds, seed=1)
        samples = [*memory.samples, (round(seconds), memory_mb(service.process))]
        settled = [size for moment, size in samples if moment >= min(60, seconds)]
        overload = asking.without_pause(4 * IN_FLIGHT, OVERLOAD_S)
        highest = memory_mb(service.process)
        after = asking.at_random(rate, AFTER_S, seed=2)
        assert asking.once().status_code == 200
        return {
            "image": f"PNG {SIDE_PX} x {SIDE_PX}",
            "requests worked on at once, at most": IN_FLIGHT,
            "rush": f"{requests:.0f} requests: {RUSH_S // 60} minutes at {RUSH_PER_S:g} a second, in {STEADY_S:g} s",
            "steady": steady,
            "memory (MB) after one minute and at the end of it": [settled[0], samples[-1][1]],
            "memory (s, MB)": samples,
            "overload": overload,
            "after it": after,
            "memory (MB) after overload and at the end": [highest, memory_mb(service.process)],
            "load of the machine (1 min), cores": [round(os.getloadavg()[0], 1), os.cpu_count()],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=STEADY_S, help="of the rush; fewer send fewer requests")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX), dtype=np.uint8)
    Picture.fromarray(pixels).save(stream, "PNG")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.seconds, stream.getvalue())
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
