"""The folder of a job: its parts, which of them are finished, and the one table they are joined into.

job.json          what is predicted by which bundle, with which options
images.sqlite     every image once, in order
part-00001.csv    rows of the first images; a part appears complete or not at all
finished.jsonl    one line for each part: its checksum, images, failures, and the seconds of each stage
report.json       images per second, over all and by stage
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps two runs of one job apart
    fcntl = None

from resight.bulk.part import FinishedPart, Work
from resight.errors import OutputError, require
from resight.settings import write_json

_JOB_FILE: Final = "job.json"
_FINISHED_FILE: Final = "finished.jsonl"
_LIST_FILE: Final = "images.sqlite"
_DECIDES_NOTHING: Final = {"engine", "precision", "device"}
"""What a restart takes over from the job instead of choosing anew."""


@dataclass(frozen=True)
class PartRecord:
    """One line of `finished.jsonl`."""

    part: int
    sha256: str
    images: int
    failed: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class JobRecord:
    """What is in `job.json`.

    Attributes:
        bundle: name, and SHA-256 of the manifest, which holds those of the weights.
        inputs: paths and URLs as they were given.
        table: SHA-256 of the clinical table; empty where there is none.
        work: all that decides what the rows say.
        asked: engine and precision that were asked for; those of `work` are what was chosen.
        images: how many.
        repeated: mentions of an image that was listed before.
    """

    bundle: dict[str, str]
    inputs: tuple[str, ...]
    table: str
    work: Work
    asked: tuple[str, str]
    images: int = 0
    repeated: int = 0


class Job:
    """A folder with finished parts.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.list_path = folder / _LIST_FILE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder until the end of the block, or of this process.

        Raises:
            OutputError: another run is at work, or the folder holds something else or cannot be made.
        """
        try:
            if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / ".lock").exists():
                raise OutputError(
                    "holds something else than parts", where=str(self.folder), fix="Choose another folder."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("a")
        except OSError as error:
            raise OutputError(f"cannot be made ({error.strerror})", where=str(self.folder)) from error
        with lock:
            try:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                found = "another run is writing parts here"
                raise OutputError(
                    found, where=str(self.folder), fix="Wait for it, or choose another folder."
                ) from error
            yield

    def begun(self, wanted: JobRecord) -> JobRecord | None:
        """The job that was begun here; None where there is none.

        Raises:
            OutputError: it is another job than the one wanted, or its record cannot be read.
        """
        path = self.folder / _JOB_FILE
        if not path.is_file() or not self.list_path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            work, asked = Work(**data.pop("work")), tuple(data.pop("asked"))
            found = JobRecord(**data | {"inputs": tuple(data["inputs"]), "work": work, "asked": asked})
        except (OSError, ValueError, TypeError, KeyError) as error:
            fix = "Give --force to begin anew."
            raise OutputError(f"cannot be read ({error})", where=str(path), fix=fix) from error
        if difference := _difference(found, wanted):
            fix = "Choose another folder of parts, or give --force to begin anew."
            raise OutputError(f"holds parts of another job: {difference}", where=str(self.folder), fix=fix)
        return found

    def begin(self, record: JobRecord) -> None:
        """Write what the job is, before its first part."""
        partial = self.folder / f"{_JOB_FILE}.partial"
        write_json(partial, asdict(record))
        partial.replace(self.folder / _JOB_FILE)

    def clear(self) -> None:
        """Remove everything that belongs to a job, and nothing else."""
        for name in (_JOB_FILE, _FINISHED_FILE, _LIST_FILE, "report.json"):
            (self.folder / name).unlink(missing_ok=True)
        for path in self.folder.glob("part-*"):
            path.unlink()

    def path(self, number: int, suffix: str) -> Path:
        """The file of a part."""
        return self.folder / f"part-{number:05d}{suffix}"

    def finished(self, suffix: str) -> tuple[dict[int, PartRecord], list[str]]:
        """Parts that need not be computed again, and what is wrong with others, one sentence each.

        A line that was cut off is left out, so that its part is computed again.
        """
        found: dict[int, PartRecord] = {}
        problems: list[str] = []
        path = self.folder / _FINISHED_FILE
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                record = PartRecord(**json.loads(line))
            except (ValueError, TypeError):
                continue
            found[record.part] = record
        for number, record in list(found.items()):
            part = self.path(number, suffix)
            what = "is missing" if not part.is_file() else "was cut off or changed"
            if not part.is_file() or _sha256(part) != record.sha256:
                problems.append(f"{part}: {what}; it is computed again")
                del found[number]
        return found, problems

    def keep(self, part: FinishedPart, suffix: str) -> PartRecord:
        """Write a part at once, then the line that says so.

        Raises:
            OutputError: disk full, or no permission; what was finished stays.
        """
        digest = hashlib.sha256(part.data).hexdigest()
        record = PartRecord(part.number, digest, part.images, part.failed, part.seconds)
        path = self.path(part.number, suffix)
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("wb") as stream:
                stream.write(part.data)
                _settle(stream)
            partial.replace(path)
            with (self.folder / _FINISHED_FILE).open("ab") as stream:
                # the line of a run that was killed may lack its end
                stream.write(b"\n" * (stream.tell() > 0) + json.dumps(asdict(record)).encode())
                _settle(stream)
        except OSError as error:
            fix = "Free space, then give the same command again."
            raise OutputError(f"cannot be written ({error.strerror})", where=str(path), fix=fix) from error
        return record

    def assemble(self, parts: Sequence[PartRecord], suffix: str, out: Path) -> None:
        """Join the parts in order; the table appears complete or not at all.

        Args:
            parts: all of them.
            suffix: of their files.
            out: the table.

        Raises:
            OutputError: a part was changed since it was checked, or the table cannot be written.
        """
        partial = out.with_name(f".{out.name}.partial")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            files = [self.path(record.part, suffix) for record in parts]
            for file, record in zip(files, parts, strict=True):
                if _sha256(file) != record.sha256:
                    fix = "Give the same command again."
                    raise OutputError("was cut off or changed", where=str(file), fix=fix)
            (_join_parquet if suffix == ".parquet" else _join_text)(files, partial)
            partial.replace(out)
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", where=str(out)) from error
        finally:
            partial.unlink(missing_ok=True)


def _difference(found: JobRecord, wanted: JobRecord) -> str:
    if found.bundle != wanted.bundle:
        return f"bundle {found.bundle['name']!r} ({found.bundle['sha256'][:12]}), not {wanted.bundle['name']!r} " + (
            f"({wanted.bundle['sha256'][:12]})"
        )
    if found.inputs != wanted.inputs:
        return f"images = {' '.join(found.inputs)}"
    if found.table != wanted.table:
        return "another clinical table"
    if found.asked != wanted.asked:
        return f"engine and precision = {' '.join(found.asked)}"
    before, now = asdict(found.work), asdict(wanted.work)
    names = [n for n in now if before[n] != now[n] and n not in _DECIDES_NOTHING | {"bundle", "table"}]
    return f"{names[0]} = {before[names[0]]}" if names else ""


def resumed(wanted: Work, record: JobRecord) -> Work:
    """The work of a job that goes on: the engine that was chosen when it was begun."""
    return replace(wanted, engine=record.work.engine, precision=record.work.precision)


def _join_text(files: Sequence[Path], out: Path) -> None:
    header = b""
    with out.open("wb") as joined:
        for file in files:
            with file.open("rb") as part:
                columns = part.readline()
                if not header:
                    header = columns
                    joined.write(header)
                elif columns != header:
                    raise OutputError("has other columns than the first part", where=str(file))
                shutil.copyfileobj(part, joined, 1 << 20)
        _settle(joined)


def _join_parquet(files: Sequence[Path], out: Path) -> None:
    """A column without any value in one part (no image failed) takes the type that it has in the others."""
    arrow, parquet = require("pyarrow", extra="parquet"), require("pyarrow.parquet", extra="parquet")
    schemas = [parquet.read_schema(file).remove_metadata() for file in files]
    schema = arrow.unify_schemas(schemas, promote_options="permissive")
    with out.open("wb") as stream:
        with parquet.ParquetWriter(stream, schema) as joined:
            for file in files:
                joined.write_table(parquet.read_table(file).cast(schema))
        _settle(stream)


def _settle(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
