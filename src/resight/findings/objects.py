"""All objects of one result, written as DICOM files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from resight.errors import OutputError
from resight.findings.base import FoundStudy, ObjectKind
from resight.findings.capture import secondary_captures
from resight.findings.parametric_map import parametric_maps
from resight.findings.presentation import presentation_states
from resight.findings.report import structured_report

WRITERS: Final[Mapping[ObjectKind, Callable[[FoundStudy], list[Dataset]]]] = {
    "sr": lambda study: [structured_report(study)],
    "sc": secondary_captures,
    "gsps": presentation_states,
    "pm": parametric_maps,
}


@dataclass(frozen=True)
class WrittenObject:
    """A file that was written.

    Attributes:
        kind: what it is.
        sop_uid: its SOP instance UID.
        path: the file.
    """

    kind: ObjectKind
    sop_uid: str
    path: Path


def write_objects(
    study: FoundStudy, kinds: Iterable[ObjectKind], folder: Path, *, after: Sequence[WrittenObject] = ()
) -> list[WrittenObject]:
    """Write the objects of a result; the same result gives the same UIDs, so writing it again does no harm.

    Args:
        study: what was found.
        kinds: what to write; a kind that does not suit an image writes nothing for it.
        folder: is made if it is absent.
        after: objects of the same result that were written before these; instance numbers go on after theirs.

    Raises:
        OutputError: a file cannot be written.
        DependencyError: highdicom is not installed.
    """
    written: list[WrittenObject] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            for dataset in WRITERS[kind](study):
                _complete(dataset, study.images[0].sources[0])
                dataset.InstanceNumber += sum(one.kind == kind for one in after)
                path = folder / f"{kind}-{dataset.SOPInstanceUID}.dcm"
                unfinished = path.with_suffix(".part")
                dataset.save_as(unfinished, enforce_file_format=True)
                unfinished.replace(path)
                written.append(WrittenObject(kind, str(dataset.SOPInstanceUID), path))
    except OSError as error:
        raise OutputError(f"results cannot be written ({error.strerror})", where=str(folder)) from error
    return written


def _complete(dataset: Dataset, source: Dataset) -> None:
    """What highdicom leaves to its users: letters of every script, and the body part or the side."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    if source.get("BodyPartExamined"):
        dataset.BodyPartExamined = source.BodyPartExamined
    elif "Laterality" not in dataset:
        dataset.Laterality = ""  # PS3.3 C.7.3.1: type 2C, and we cannot know whether the part is paired
