"""SHA-256 of files, and JSON files that carry theirs in a second file, as `sha256sum --check` reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from resight.errors import BundleError
from resight.settings import write_json

UNCHANGED = "Use an unchanged copy of the bundle."


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changed_files(folder: Path, files: dict[str, str]) -> list[str]:
    """What is wrong with files, one clause each.

    Args:
        folder: where they lie.
        files: name to SHA-256.
    """
    found = ((name, file_problem(folder / name, expected)) for name, expected in files.items())
    return [f"{name} {problem}" for name, problem in found if problem]


def file_problem(path: Path, expected: str) -> str:
    """What is wrong with a file of which the SHA-256 is known; empty where nothing is."""
    try:
        if not path.is_file():
            return "is missing"
        return "" if sha256(path) == expected else "was changed"
    except OSError as error:
        return f"cannot be read ({error})"


def write_sealed(path: Path, data: Any) -> Path:
    """Write JSON and, beside it, its checksum.

    Returns:
        The file with the checksum.
    """
    write_json(path, data)
    seal = path.with_name(f"{path.name}.sha256")
    seal.write_text(_checksum_line(path), encoding="ascii")
    return seal


def read_sealed(path: Path) -> Any:
    """Read JSON that is as it was written.

    Raises:
        BundleError: the file or its checksum is missing, was changed, or is not JSON.
    """
    folder, seal = path.parent, path.with_name(f"{path.name}.sha256")
    for file in (path, seal):
        if not file.is_file():
            raise BundleError(f"{file.name} is missing", where=str(folder), fix=UNCHANGED)
    try:
        if seal.read_bytes() != _checksum_line(path).encode():
            raise BundleError(f"{path.name} or {seal.name} was changed", where=str(folder), fix=UNCHANGED)
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"cannot be read ({error})", where=str(folder)) from error
    except ValueError as error:
        raise BundleError(f"{path.name} is not JSON ({error})", where=str(folder)) from error


def _checksum_line(path: Path) -> str:
    return f"{sha256(path)}  {path.name}\n"
