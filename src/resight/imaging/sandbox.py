"""Reading files that nobody vouches for: in processes with bounded memory and time, so that a bad one harms nobody.

A file that makes a decoder crash, hang or swallow memory costs one process and gives an `ImageError`; the next file
gets a new process.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from resight.errors import ImageError
from resight.imaging.display import VOI
from resight.types import Image, Step

_START: Final = "from resight.imaging.sandbox_worker import serve; serve()"
_START_S: Final = 60.0
"""Importing the readers takes about a second, more where the machine is busy."""
_LONGEST_LINE: Final = 2**20
_CHUNK: Final = 2**18


@dataclass(frozen=True)
class Header:
    """What a DICOM file says of itself; see `sandbox_worker.header`.

    Attributes:
        texts: value by keyword; absent where empty.
        numbers: values by keyword; absent where empty.
        age_years: of the patient; None where not given.
        transfer_syntax: its UID.
        sop_class: name of the SOP class.
        problem: why it is no image that could be read; empty where it is one.
    """

    texts: Mapping[str, str]
    numbers: Mapping[str, list[float]]
    age_years: float | None
    transfer_syntax: str
    sop_class: str
    problem: str

    def text(self, keyword: str) -> str:
        """A text value; empty where it is absent."""
        return self.texts.get(keyword, "")

    def whole(self, keyword: str) -> int | None:
        """The first number of a value as an integer; None where it is absent."""
        found = self.numbers.get(keyword)
        return int(found[0]) if found else None


class ReadingEndedError(ImageError):
    """The process that read was killed or ran out of time; another try may go better."""


class Sandbox:
    """A pool of reading processes; usable from many threads, each call waits for a free process.

    Args:
        processes: how many read at once.
        memory_mb: what each may take beyond what it starts with.
        timeout_s: how long one file may take.
        most_values: rows x columns x frames of one image.
        most_frames: frames or slices of one image.
    """

    def __init__(
        self,
        *,
        processes: int = 2,
        memory_mb: int = 1500,
        timeout_s: float = 30.0,
        most_values: int = 200_000_000,
        most_frames: int = 2000,
    ) -> None:
        self.memory_mb = memory_mb
        self.timeout_s = timeout_s
        self._caps = {"most_values": most_values, "most_frames": most_frames}
        self._free: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)
        self._processes = processes

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def header(self, path: Path) -> Header:
        """Read the header of a DICOM file.

        Raises:
            ImageError: it is not DICOM, does not say what it is, or could not be read within the limits.
        """
        answer, _ = self._ask({"what": "header", "path": str(path)}, path)
        return Header(**answer)

    def image(self, path: Path, voi: VOI, at_least_px: int | None = None) -> Image:
        """Read an image file or the folder of a series, as `imaging.read`.

        Of its history the way to grey and the turn of volumes to LPS remain; the attribute `turned` is of images.

        Raises:
            ImageError: it cannot be read, is too large, or could not be read within the limits.
            ReadingEndedError: its process ended, which need not be the fault of the file.
        """
        task = {"what": "image", "path": str(path), "voi": voi.model_dump(mode="json"), "at_least_px": at_least_px}
        answer, pixels = self._ask(task | self._caps, path)
        affine = None if answer["affine"] is None else np.asarray(answer["affine"])
        array = np.frombuffer(pixels, answer["dtype"]).reshape(answer["shape"])
        spacing = tuple(answer["spacing_mm"])
        steps = tuple(Step(name, parameters) for name, parameters in answer["steps"])
        return Image(array, spacing, answer["modality"], str(path), steps, affine, answer["attributes"])

    def close(self) -> None:
        """End all processes; waits for what is being read."""
        for _ in range(self._processes):
            if (process := self._free.get()) is not None:
                process.kill()

    def _ask(self, task: dict[str, Any], path: Path) -> tuple[dict[str, Any], bytearray]:
        with self._process() as process:
            try:
                answer, pixels = process.ask(task, self.timeout_s)
            except _TooSlowError:
                process.kill()
                raise ReadingEndedError(f"reading it takes more than {self.timeout_s:g} s", where=str(path)) from None
            except _DiedError:
                process.kill()
                raise ReadingEndedError("reading it ends the process that reads", where=str(path)) from None
        if "error" in answer:
            found, expected, fix = answer["error"]
            raise ImageError(found, where=str(path), expected=expected, fix=fix)
        return answer, pixels

    @contextmanager
    def _process(self) -> Iterator[_Process]:
        process = self._free.get()
        try:
            if process is not None and not process.is_alive():
                process.kill()  # gives its pipes back
                process = None
            if process is None:
                process = _Process(self.memory_mb)
            yield process
        finally:
            self._free.put(process)


class _TooSlowError(Exception):
    pass


class _DiedError(Exception):
    pass


class _Process:
    def __init__(self, memory_mb: int) -> None:
        source = Path(__file__).parents[2]
        paths = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._running = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # C libraries print header values, which may name the patient
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._started = False
        self._send({"memory_mb": memory_mb})

    def is_alive(self) -> bool:
        return self._running.poll() is None

    def kill(self) -> None:
        self._running.kill()
        self._running.communicate()

    def ask(self, task: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], bytearray]:
        deadline = time.monotonic() + timeout_s + (0 if self._started else _START_S)
        self._send(task)
        received = bytearray()
        while (end := received.find(b"\n")) < 0:
            received += self._receive(deadline)
            if len(received) > _LONGEST_LINE and b"\n" not in received[:_LONGEST_LINE]:
                raise _DiedError
        answer = json.loads(received[:end])
        self._started = True
        del received[: end + 1]
        if "shape" in answer:
            expected = int(np.prod(answer["shape"], dtype=np.int64)) * np.dtype(answer["dtype"]).itemsize
            while len(received) < expected:
                received += self._receive(deadline)
        return answer, received  # not as a copy: volumes are large

    def _send(self, value: dict[str, Any]) -> None:
        assert self._running.stdin is not None
        try:
            self._running.stdin.write(json.dumps(value).encode() + b"\n")
            self._running.stdin.flush()
        except BrokenPipeError:
            raise _DiedError from None

    def _receive(self, deadline: float) -> bytes:
        assert self._running.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._running.stdout, selectors.EVENT_READ)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise _TooSlowError
        data = os.read(self._running.stdout.fileno(), _CHUNK)
        if not data:
            raise _DiedError
        return data
