"""Taking instances in: kept on disk and in the database before anybody is told that they arrived, each exactly once."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from resight.errors import ImageError, OutputError
from resight.imaging import Header, Sandbox
from resight.serving.audit_trail import append
from resight.serving.row import now
from resight.serving.schema import Instance, ResultObject, Study
from resight.serving.service import Service

_MEGABYTE: Final = 2**20
_META_HEAD: Final = 144
"""Bytes up to and with the length of the file meta information."""
_TRIES: Final = 5
"""Two senders may bring the first instance of a study at the same moment; the loser tries again."""


@dataclass(frozen=True)
class Outcome:
    """What became of one object.

    Attributes:
        state: `kept`; `known`: it is here already; `ours`: a result of this service came back; `refused`.
        reason: why it was refused, without names.
        sop_class_uid: of the object, where it could be read.
        sop_uid: of the object, where it could be read.
    """

    state: Literal["kept", "known", "ours", "refused"]
    reason: str = ""
    sop_class_uid: str = ""
    sop_uid: str = ""
    study_uid: str = ""


class Intake:
    """The one door for studies, whichever way they come.

    Args:
        service: database and folders.
        sandbox: reads headers.
    """

    def __init__(self, service: Service, sandbox: Sandbox) -> None:
        self._service = service
        self._sandbox = sandbox
        self.arrivals: dict[int, float] = {}
        """When the newest instance of a study came, by the clock that never jumps."""

    def forget(self, study: int, arrived: float | None) -> None:
        """Drop what is known of arrivals for a study that is complete, unless another instance came since."""
        if arrived is not None and self.arrivals.get(study) == arrived:
            self.arrivals.pop(study, None)

    def spool(self) -> Path:
        """A path for an object that is being received.

        Raises:
            OutputError: there is too little room on the disk.
        """
        self.require_room()
        return self._service.folder / "incoming" / f"{uuid.uuid4().hex}.part"

    def require_room(self) -> None:
        """Check that there is room.

        Raises:
            OutputError: there is less free than the settings keep.
        """
        free_mb = shutil.disk_usage(self._service.folder).free // _MEGABYTE
        if free_mb < (least := self._service.settings.limits.free_disk_mb):
            where = str(self._service.folder)
            raise OutputError(f"{free_mb} MB of disk are free", where=where, expected=f"at least {least} MB")

    def accept(self, path: Path, source: str, expected: Mapping[str, str] | None = None) -> Outcome:
        """Take a received file; it is moved away or removed in any case.

        Args:
            path: the file, in the folder that `spool` named or on the same disk.
            source: who sent it: AE title, token or folder.
            expected: header values that the sender has promised, by keyword.

        Returns:
            What became of it. When this returns `kept` or `known`, a crash or power cut loses nothing any more.

        Raises:
            OutputError: it cannot be kept (disk full, database away); the sender has to send it again.
        """
        try:
            header = self._sandbox.header(path)
            for keyword, value in (expected or {}).items():
                if header.text(keyword) != value:
                    raise ImageError(f"its {keyword} is not the one that was announced")
        except ImageError as error:
            path.unlink(missing_ok=True)
            reason = error.found
            self._service.audit("object refused", actor=source, reason=reason)
            return Outcome("refused", reason)
        uids = header.text("SOPClassUID"), header.text("SOPInstanceUID"), header.text("StudyInstanceUID")
        try:
            digest, size = _sync(path)
            kept = self._service.folder / "instances" / digest[:2] / f"{digest}.dcm"
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.replace(kept)
            _sync_folder(kept.parent)
            state, reason = self._register(header, kept, digest, size, source)
        except (OSError, SQLAlchemyError) as error:
            path.unlink(missing_ok=True)
            found = f"the object cannot be kept ({type(error).__name__})"
            raise OutputError(found, where=str(self._service.folder), fix="Send it again later.") from error
        return Outcome(state, reason, *uids)

    def _register(
        self, header: Header, kept: Path, digest: str, size: int, source: str
    ) -> tuple[Literal["kept", "known", "ours", "refused"], str]:
        for last in range(1, _TRIES + 1):
            try:
                with self._service.store.write() as session:
                    return self._add(session, header, kept, digest, size, source)
            except IntegrityError:
                if last == _TRIES:
                    raise
                time.sleep(0.01 * last)
        raise AssertionError("unreachable")

    def _add(
        self, session: Session, header: Header, kept: Path, digest: str, size: int, source: str
    ) -> tuple[Literal["kept", "known", "ours", "refused"], str]:
        uid = header.text("SOPInstanceUID")
        if session.scalar(select(ResultObject.id).where(ResultObject.sop_uid == uid)) is not None:
            kept.unlink(missing_ok=True)
            return "ours", ""
        known = session.scalar(select(Instance).where(Instance.sop_uid == uid))
        if known is not None:
            if known.sha256 == digest:
                return "known", ""
            same = _same_dataset(kept, self._service.folder / known.file)
            if not self._is_used(session, digest):
                kept.unlink(missing_ok=True)
            if same:
                return "known", ""
            reason = "another object with the same SOP instance UID is here already"
            append(session, "object refused", actor=source, subject=f"instance {known.id}", details={"reason": reason})
            return "refused", reason
        study = self._study(session, header, source)
        session.add(self._instance(header, study, kept, digest, size))
        session.flush()
        self.arrivals[study.id] = time.monotonic()
        return "kept", ""

    def _is_used(self, session: Session, digest: str) -> bool:
        return session.scalar(select(Instance.id).where(Instance.sha256 == digest).limit(1)) is not None

    def _study(self, session: Session, header: Header, source: str) -> Study:
        uid = header.text("StudyInstanceUID")
        study = session.scalar(select(Study).where(Study.study_uid == uid))
        if study is None:
            study = Study(
                study_uid=uid,
                patient_id=header.text("PatientID")[:64],
                patient_name=header.text("PatientName"),
                patient_sex=header.text("PatientSex")[:16],
                patient_birth_date=header.text("PatientBirthDate")[:10],
                patient_age_years=header.age_years,
                accession_number=header.text("AccessionNumber")[:64],
                study_date=header.text("StudyDate")[:10],
                study_time=header.text("StudyTime")[:20],
                study_id=header.text("StudyID")[:64],
                referring_physician=header.text("ReferringPhysicianName"),
                source=source[:100],
            )
            session.add(study)
            session.flush()
            append(session, "study begun", actor=source, subject=f"study {study.id}", rows=[study])
        elif study.state != "receiving":
            study.state, study.reason = "receiving", ""
            append(session, "study reopened", actor=source, subject=f"study {study.id}", rows=[study])
        study.last_instance_at = now()
        return study

    def _instance(self, header: Header, study: Study, kept: Path, digest: str, size: int) -> Instance:
        rows, columns, frames = (header.whole(k) for k in ("Rows", "Columns", "NumberOfFrames"))
        return Instance(
            study_pk=study.id,
            sop_uid=header.text("SOPInstanceUID"),
            series_uid=header.text("SeriesInstanceUID"),
            sop_class_uid=header.text("SOPClassUID"),
            file=kept.relative_to(self._service.folder).as_posix(),
            sha256=digest,
            size_bytes=size,
            modality=header.text("Modality")[:16],
            body_part=header.text("BodyPartExamined")[:16],
            view=header.text("ViewPosition")[:16],
            laterality=(header.text("ImageLaterality") or header.text("Laterality"))[:16],
            instance_number=header.whole("InstanceNumber"),
            rows=rows,
            columns=columns,
            frames=frames,
            header={
                "texts": dict(header.texts),
                "numbers": dict(header.numbers),
                "transfer_syntax": header.transfer_syntax,
            },
            state="skipped" if header.problem else "image",
            reason=header.problem,
        )


def _sync(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file whose bytes are on the disk when this returns."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
        return digest, stream.tell()


def _same_dataset(one: Path, other: Path) -> bool:
    """Whether two files differ in preamble and file meta information only, which every sender writes anew."""
    try:
        with one.open("rb") as first, other.open("rb") as second:
            for stream in (first, second):
                stream.seek(_dataset_begin(stream.read(_META_HEAD), os.fstat(stream.fileno()).st_size))
            while True:
                here, there = first.read(_MEGABYTE), second.read(_MEGABYTE)
                if here != there:
                    return False
                if not here:
                    return True
    except OSError:
        return False


def _dataset_begin(head: bytes, size: int) -> int:
    """Where the file meta information ends (PS3.10 7.1); the beginning where its length is missing or too large."""
    if head[128:132] != b"DICM" or head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return 0
    begin = _META_HEAD + int.from_bytes(head[140:_META_HEAD], "little")
    return begin if begin < size else 0


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
