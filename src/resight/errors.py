"""Every error Resight raises on purpose, and the exit code each class ends a command with.

ResightError            1
|-- SettingsError       3   settings file, option or registry name is wrong
|-- DataError           4   what the user's data hold
|   |-- ImageError          one image cannot be read or used
|   |-- CohortError         the table of images, patients and labels
|   |-- LeakError           training and test are not independent
|   `-- PredictionsError    a predictions table
|-- BundleError         5   a model bundle is incomplete, changed or does not fit
|-- TrainingError       6   training cannot go on
|-- OutputError         7   nothing may be, or can be, written there
`-- DependencyError     8   an optional library is not installed
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


class ResightError(Exception):
    """Base of all errors; one line saying what, where, found, expected and what to do.

    Args:
        found: what was found, as a short clause without a full stop.
        where: file, key or column it was found in; empty when there is none.
        expected: what would have been right.
        fix: what the user can do, as a full sentence.
    """

    exit_code = 1

    def __init__(self, found: str, *, where: str = "", expected: str = "", fix: str = "") -> None:
        self.found, self.where, self.expected, self.fix = found, where, expected, fix
        line = f"{where}: {found}" if where else found
        if expected:
            line += f"; expected {expected}"
        if fix:
            line += f". {fix}"
        super().__init__(line)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep keyword arguments when an error crosses a process border."""
        return _rebuild, (type(self), self.found, self.where, self.expected, self.fix)


class SettingsError(ResightError):
    """A settings file, an option or a registry name is wrong."""

    exit_code = 3


class DataError(ResightError):
    """The user's data cannot be used as they are."""

    exit_code = 4


class ImageError(DataError):
    """One image cannot be read or used; a batch goes on without it."""


class CohortError(DataError):
    """The table of images, patients and labels is inconsistent."""


class LeakError(DataError):
    """Training and test data are not independent, or nobody can tell."""


class PredictionsError(DataError):
    """A predictions table lacks columns or holds impossible values."""


class BundleError(ResightError):
    """A model bundle is incomplete, was changed, or does not fit the input."""

    exit_code = 5


class TrainingError(ResightError):
    """Training cannot go on."""

    exit_code = 6


class OutputError(ResightError):
    """An output exists already, or cannot be written."""

    exit_code = 7


class DependencyError(ResightError):
    """An optional library is needed and not installed."""

    exit_code = 8


def _rebuild(kind: type[ResightError], found: str, where: str, expected: str, fix: str) -> ResightError:
    return kind(found, where=where, expected=expected, fix=fix)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Say which candidate was probably meant.

    Args:
        name: what the user wrote.
        candidates: the names that exist.

    Returns:
        `Did you mean 'x'?` when one is close, otherwise the list of all names.
    """
    names = sorted(set(candidates))
    folded = {n.casefold(): n for n in names}
    match = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    if match:
        return f"Did you mean {folded[match[0]]!r}?"
    return f"Known: {', '.join(names)}." if names else "There are none."


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Say in one line what the system refused while something was written.

    Args:
        path: file or folder that it is written to.

    Raises:
        OutputError: disk full, no permission, or no such folder.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", where=str(path)) from error


def similar_path(path: Path) -> str:
    """Say which file or folder was probably meant by a path that leads nowhere.

    Args:
        path: what the user wrote.

    Returns:
        `Did you mean 'x'?` for a name beside it that is close, which folder is missing, or nothing.
    """
    parent = path.parent
    if not parent.is_dir():
        missing = next((p for p in reversed(path.parents) if not p.exists()), parent)
        return f"There is no folder {str(missing)!r}."
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError:
        return ""
    match = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"Did you mean {str(parent / match[0])!r}?" if match else ""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional library where it is used.

    Args:
        module: import name, for example `"pyarrow"`.
        extra: the extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"the library {module!r} is not installed ({error})",
            fix=f"Install it with: pip install 'resight[{extra}]'",
        ) from error
