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
    problems: list[str] = []
    for name, expected in files.items():
        try:
            if not (folder / name).is_file():
                problems.append(f"{name} is missing")
            elif sha256(folder / name) != expected:
                problems.append(f"{name} was changed")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error})")
    return problems


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
