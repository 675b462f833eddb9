"""A folder of DICOM files without identity, a log that names nobody, and a key file that is kept apart."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from resight.errors import DataError, ImageError, OutputError, writing
from resight.imaging.deidentify import Dates, deidentify_file
from resight.tables import write_table
from resight.types import Progress, silent

LOG_FILE: Final = "deidentified.csv"
_FORMAT: Final = 1


@dataclass(frozen=True)
class DeidentifiedFolder:
    """What became of a folder.

    Attributes:
        log: `number` (place in the sorted list of files), `file` (new name), `patient_id` (new), `error`, `notes`.
    """

    log: pd.DataFrame

    @property
    def written(self) -> int:
        """Files without identity."""
        return int((self.log["error"] == "").sum())

    @property
    def errors(self) -> dict[str, int]:
        """Reason -> files that were left out for it."""
        return dict(Counter(reason for reason in self.log["error"] if reason))


def deidentify_folder(
    source: Path, out: Path, key_file: Path, *, dates: Dates = "remove", progress: Progress = silent
) -> DeidentifiedFolder:
    """Take the identity out of every file below a folder; one that cannot be is a row with its error.

    Args:
        source: folder, or one file.
        out: folder for the files and the log; names come from the new UIDs.
        key_file: secret, and old beside new names; written here, or read when there is one already, so that a later
            folder fits. Readable by its owner only.
        dates: `remove`, or `shift` by days that differ from patient to patient.
        progress: listener.

    Raises:
        DataError: there are no files, or the key file was changed.
        OutputError: the key file or the originals would lie in the folder that is given away, the folder lies among the
            originals, or something cannot be written.
        DependencyError: dicom-anonymizer is not installed.
    """
    require_apart(source, out, key_file)
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    if not files:
        raise DataError("no files", where=str(source))
    key = _read_key(key_file)
    secret = bytes.fromhex(key["secret"])
    _write_key(key_file, key)  # before any file, so that an interruption loses no secret
    rows: list[dict[str, Any]] = []
    for number, path in enumerate(files, 1):
        row: dict[str, Any] = {"number": number, "file": "", "patient_id": "", "error": "", "notes": ""}
        try:
            done = deidentify_file(path, secret, dates)
            target = out / done.name
            if target.exists():
                raise ImageError("another file has the same instance UID", where=str(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f".{target.name}.unfinished")
            unfinished.write_bytes(done.data)
            unfinished.replace(target)  # an interruption leaves whole files only under their names
            row |= {"file": done.name, "patient_id": done.patient_id, "notes": "; ".join(done.notes)}
            key["patients"][done.patient_id] = done.old_patient_id
            key["files"][done.name] = path.relative_to(source).as_posix() if path != source else path.name
        except ImageError as error:
            row["error"] = error.found
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", where=str(out)) from error
        rows.append(row)
        progress("clean", number, len(files), "")
    log = pd.DataFrame(rows)
    out.mkdir(parents=True, exist_ok=True)
    write_table(log, out / LOG_FILE)
    _write_key(key_file, key)
    return DeidentifiedFolder(log)


def require_apart(source: Path, out: Path, key_file: Path) -> None:
    """Check that what is given away, what it was made of and the key lie in places of their own.

    Raises:
        OutputError: they do not.
    """
    fix = "Choose a place beside them."
    given, originals, key = out.resolve(), source.resolve(), key_file.resolve()
    if originals.is_relative_to(given) or (source.is_dir() and given.is_relative_to(originals)):
        raise OutputError("files with and without identity would lie in one folder", where=str(out), fix=fix)
    if key.is_relative_to(given) or key.is_relative_to(originals):
        raise OutputError("the key file would lie among the files", where=str(key_file), fix=fix)


def _read_key(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"format_version": _FORMAT, "secret": secrets.token_hex(32), "patients": {}, "files": {}}
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = stored.pop("seal")
        if not hmac.compare_digest(seal, _seal(stored)):
            raise DataError("was changed", where=str(path), expected="the key file as it was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"is no key file ({type(error).__name__})", where=str(path)) from error
    return stored


def _write_key(path: Path, key: dict[str, Any]) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    with writing(path):
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump({**key, "seal": _seal(key)}, stream, indent=2, sort_keys=True)
        unfinished.replace(path)


def _seal(key: dict[str, Any]) -> str:
    """A checksum that only fits with the secret inside."""
    text = json.dumps(key, sort_keys=True).encode()
    return hmac.new(bytes.fromhex(key["secret"]), text, hashlib.sha256).hexdigest()
