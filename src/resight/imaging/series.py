"""Folders of DICOM files: one series is one image (PS3.3 C.7.3); a DICOMDIR lists its files (PS3.10 section 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resight.errors import ImageError
from resight.imaging.dicom import read_dicom, read_slices
from resight.imaging.dicom_file import guarded, open_dicom
from resight.imaging.display import VOI
from resight.imaging.sniff import sniff
from resight.types import Image

_DICOMDIR = "DICOMDIR"
# media storage SOP class, in explicit little endian whatever the dataset is written in
_DIRECTORY_CLASS = b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"


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
    paths = series_files(folder, directory)
    return read_dicom(paths[0], voi) if len(paths) == 1 else read_slices(paths, folder, voi)


def series_files(folder: Path, directory: Path | None = None) -> list[Path]:
    """The image files of the one series of a folder, in the order of their names.

    Raises:
        ImageError: no image, several series, or a file that cannot be parsed.
    """
    directory = directory or folder / _DICOMDIR
    members = list(_members(_listed(directory) if directory.is_file() else _files(folder)))
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
    return [member.path for member in members]


def is_series(paths: list[Path], *, mixed: bool = False) -> bool:
    """Whether DICOM files of one folder are the slices of one series, and not separate pictures.

    Args:
        paths: DICOM files.
        mixed: slices of several series will do.
    """
    first: _Member | None = None
    count = 0
    try:
        # one at a time: a folder of ten thousand radiographs is known after the first header
        for member in _members(paths):
            first = first or member
            count += 1
            if not member.placed or (member.series != first.series and not mixed):
                return False
    except ImageError:
        return False
    return count > 1


def is_directory_file(path: Path) -> bool:
    """Whether a DICOM file is a DICOMDIR, whatever its name (the class stands in the first bytes, PS3.10 7.1)."""
    with path.open("rb") as stream:
        return _DIRECTORY_CLASS in stream.read(1024)


def _files(folder: Path) -> list[Path]:
    names = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in names if path.suffix.lower() == ".dcm" or (path.stat().st_size and sniff(path) == "dicom")]


def _members(paths: list[Path]) -> Iterator[_Member]:
    """The images among the files; reports and directories beside them are passed over."""
    for path in paths:
        dataset, _ = open_dicom(path, pixels=False)
        with guarded(str(path), "the header cannot be understood"):
            if not dataset.get("Rows") or not dataset.get("Columns"):
                continue
            placed = "ImagePositionPatient" in dataset and "ImageOrientationPatient" in dataset
            series = str(dataset.get("SeriesInstanceUID", ""))
        yield _Member(path, series, placed)


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
