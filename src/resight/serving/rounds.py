"""A thread that does one thing round after round until the service stops."""

from __future__ import annotations

import logging
import threading
import traceback
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from resight.errors import ResightError

_log = logging.getLogger(__name__)


class Rounds(ABC):
    """One thread; a context manager that begins it and ends it.

    What is away for a while (database, disk, a file) is logged by its kind alone, and the next round tries again; so is
    an error that nobody foresaw, with its place.

    Args:
        stopping: ends the rounds when set.
        name: of the thread, for the log.
        every_s: seconds between two rounds.
    """

    def __init__(self, stopping: threading.Event, name: str, every_s: float) -> None:
        self._stopping, self._every_s = stopping, every_s
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self.round()
            except (ResightError, SQLAlchemyError, OSError) as error:
                _log.error("the %s waits: %s", self._thread.name, type(error).__name__)
            except Exception as error:  # noqa: BLE001 - nothing that comes in may end the work on all that comes after
                _log.error("the %s waits: %s at %s", self._thread.name, type(error).__name__, place_of_error(error))

    @abstractmethod
    def round(self) -> None:
        """Do what is due."""


def place_of_error(error: BaseException) -> str:
    """File and line of code where an error came up; its message may hold what a header says, and is not told."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
