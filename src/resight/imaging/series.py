"""Folders of DICOM files: one series is one image (PS3.3 C.7.3); a DICOMDIR lists its files (PS3.10 section 8)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from resight.errors import ImageError
from resight.imaging.dicom import read_dicom, read_slices
from resight.imaging.dicom_file import guarded, open_dicom
from resight.imaging.display import VOI
from resight.imaging.sniff import sniff
from resight.types import Image

_DICOMDIR = "DICOMDIR"
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class _Member:
    path: Path
    series: str
    placed: bool


def read_series(folder: Path, voi: VOI, *, directory: Path | None = None) -> Image:
    """Read a folder that holds one series, or whose DICOMDIR lists one.

    Args:
        folder: the folder.
        voi: grey policy.
        directory: a DICOMDIR in it by another name.

    Raises:
        ImageError: no image, several series, or slices that form no volume.
    """
    if not folder.is_dir():
        raise ImageError("no such folder", where=str(folder))
    directory = directory or folder / _DICOMDIR
    members = _members(_listed(directory) if directory.is_file() else _files(folder))
    if not members:
        raise ImageError("the folder holds no DICOM image", where=str(folder))
    counts = Counter(member.series for member in members)
    if len(counts) > 1:
        sizes = ", ".join(str(n) for n in sorted(counts.values(), reverse=True)[:5])
        raise ImageError(
            f"the folder holds {len(counts)} series (largest: {sizes} files)",
            where=str(folder),
            expected="one series",
            fix="Put each series into a folder of its own, or name single files.",
        )
    if len(members) == 1:
        return read_dicom(members[0].path, voi)
    return read_slices([member.path for member in members], folder, voi)


def is_series(paths: list[Path]) -> bool:
    """Whether DICOM files of one folder are the slices of one series, and not separate pictures."""
    try:
        members = _members(paths)
    except ImageError:
        return False
    return len(members) > 1 and len({m.series for m in members}) == 1 and all(m.placed for m in members)


def is_directory_file(path: Path) -> bool:
    """Whether a DICOM file is a DICOMDIR, whatever its name."""
    try:
        dataset, _ = open_dicom(path, pixels=False)
    except ImageError:
        return False
    return str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == _DIRECTORY_CLASS


def _files(folder: Path) -> list[Path]:
    names = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in names if path.suffix.lower() == ".dcm" or (path.stat().st_size and sniff(path) == "dicom")]


def _members(paths: list[Path]) -> list[_Member]:
    """The images among the files; reports and directories beside them are passed over."""
    members = []
    for path in paths:
        dataset, _ = open_dicom(path, pixels=False)
        with guarded(str(path), "the header cannot be understood"):
            if not dataset.get("Rows") or not dataset.get("Columns"):
                continue
            placed = "ImagePositionPatient" in dataset and "ImageOrientationPatient" in dataset
            members.append(_Member(path, str(dataset.get("SeriesInstanceUID", "")), placed))
    return members


def _listed(directory: Path) -> list[Path]:
    dataset, _ = open_dicom(directory)
    root = directory.parent.resolve()
    paths = []
    with guarded(str(directory), "the DICOMDIR cannot be understood"):
        for record in dataset.get("DirectoryRecordSequence") or ():
            if record.get("DirectoryRecordType") != "IMAGE":
                continue
            given = record.get("ReferencedFileID") or ()
            parts = [given] if isinstance(given, str) else [str(part) for part in given]
            path = root.joinpath(*parts)
            if not parts or not path.resolve().is_relative_to(root):
                raise ImageError("the DICOMDIR points outside its folder", where=str(directory))
            if not path.is_file():
                raise ImageError("a file that the DICOMDIR lists is missing", where=str(directory))
            paths.append(path)
    return paths
