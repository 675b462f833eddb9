"""A process that prepares images for a store: one JSON line in for each task, one out for its result.

A plain process, not one of `multiprocessing`: the caller's script is not imported again, so it needs no guard, and the
process ends by itself when its caller is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from resight.errors import ImageError, OutputError
from resight.preprocess.recipe import Recipe
from resight.types import Files

Failures = dict[int, str]
"""Why an image could not be prepared, by its number."""
_START = "from resight.preprocess.store_worker import serve; serve()"


@dataclass(frozen=True)
class Task:
    """Some images to prepare into their places in the store's file.

    Attributes:
        recipe: how.
        paths: neighbours in the store.
        first: number of the first of them.
        file: the array file.
        start: byte of the file at which image 0 begins.
    """

    recipe: Recipe
    paths: tuple[Files, ...]
    first: int
    file: Path
    start: int

    def to_json(self) -> str:
        """One line."""
        paths = [str(p) if isinstance(p, Path) else [one and str(one) for one in p] for p in self.paths]
        return json.dumps([self.recipe.model_dump(mode="json"), paths, self.first, str(self.file), self.start])

    @classmethod
    def from_json(cls, line: str) -> Task:
        """The task of a line."""
        recipe, paths, first, file, start = json.loads(line)
        return cls(Recipe.model_validate(recipe), tuple(map(_files, paths)), first, Path(file), start)


def prepare_chunk(task: Task) -> Failures:
    """Prepare and write images; what cannot be read stays 0.

    Raises:
        OSError: the file cannot be written.
    """
    failures: Failures = {}
    with task.file.open("r+b") as stream:
        for number, path in enumerate(task.paths, start=task.first):
            try:
                prepared = task.recipe.prepare(path)
            except ImageError as error:
                failures[number] = str(error)
                continue
            stream.seek(task.start + number * prepared.nbytes)
            stream.write(prepared.tobytes())
    return failures


class Worker:
    """A running process, seen from its caller; a context manager that ends it.

    Args:
        folder: the store it works for, named in errors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        source = Path(__file__).parents[2]
        paths = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is the caller's to answer, which ends this process then
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it holds nothing that has to be put away
        self._process.communicate()

    def prepare(self, task: Task) -> Failures:
        """Have a task done.

        Raises:
            OutputError: the process died.
            OSError: the file cannot be written.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(task.to_json() + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise OutputError(
                f"a process that prepared images died (exit code {self._process.wait()})",
                where=str(self._folder),
                fix="Most often memory ran out (-9): take fewer workers.",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise OSError(*answer["error"])
        return {int(number): reason for number, reason in answer["failures"].items()}


def _files(names: str | list[str | None]) -> Files:
    return Path(names) if isinstance(names, str) else tuple(None if name is None else Path(name) for name in names)


def serve() -> None:
    """Prepare what comes in on standard input until it ends."""
    for line in sys.stdin:
        try:
            answer = {"failures": prepare_chunk(Task.from_json(line))}
        except OSError as error:
            answer = {"error": [error.errno, error.strerror]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
