"""A folder into which other programs put DICOM files: what has settled is taken in, what is refused is set aside."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Final

from resight.errors import OutputError
from resight.serving.intake import Intake
from resight.serving.rounds import Rounds
from resight.serving.service import Service
from resight.serving.settings import WatchOptions

_log = logging.getLogger(__name__)

_LONGEST_NAME: Final = 50
"""Letters kept of a name, which may take four bytes each, beside a number and an ending."""
REFUSED: Final = "refused"
"""Folder below the watched one where refused files are kept, each with a text file that says why."""


class Watcher(Rounds):
    """One thread that looks into the folder; a context manager that ends it.

    Args:
        service: told when to stop.
        options: the folder.
        intake: takes the files.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, service: Service, options: WatchOptions, intake: Intake) -> None:
        super().__init__(service.stopping, "watcher", options.every_s)
        self._options, self._intake = options, intake
        self._largest = service.settings.limits.object_mb * 2**20
        try:
            (options.folder / REFUSED).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be made ({error.strerror})", where=str(options.folder)) from error

    def round(self) -> None:
        """Look once."""
        self.look()

    def look(self) -> int:
        """Take all files that have settled; gives how many were kept.

        A file is copied, kept, and only then removed: a crash in between takes it a second time, which is noticed.

        Raises:
            OutputError: there is no room, or the database is away.
        """
        kept = 0
        for path in sorted(self._settled()):
            try:
                kept += self._take(path)
            except OSError as error:  # one that cannot be read keeps none of the others waiting
                _log.warning("a file of the watched folder waits: %s", type(error).__name__)
        return kept

    def _take(self, path: Path) -> bool:
        if path.stat().st_size > self._largest:
            self._set_aside(path, f"the file is larger than {self._largest} bytes")
            return False
        spooled = self._intake.spool()
        shutil.copyfile(path, spooled)
        outcome = self._intake.accept(spooled, "watch folder")
        if outcome.state == "refused":
            self._set_aside(path, outcome.reason)
        else:
            path.unlink()
        return outcome.state == "kept"

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = self._refused / f"{time.time_ns()}-{path.name[:_LONGEST_NAME]}"
        path.replace(aside)
        aside.with_name(f"{aside.name}.txt").write_text(reason + "\n", encoding="utf-8")

    def _settled(self) -> list[Path]:
        """Regular files that have not changed for a while; links are not followed, hidden files not touched."""
        moment = time.time()
        found: list[Path] = []
        for root, folders, names in os.walk(self._options.folder):
            folders[:] = [name for name in folders if not name.startswith(".") and Path(root, name) != self._refused]
            for name in names:
                path = Path(root, name)
                if name.startswith(".") or path.is_symlink() or not path.is_file():
                    continue
                # a time in the future is that of a clock that was wrong, and says nothing
                age = moment - path.stat().st_mtime
                if age >= self._options.settled_s or age < -self._options.settled_s:
                    found.append(path)
        return found

    @property
    def _refused(self) -> Path:
        return self._options.folder / REFUSED
