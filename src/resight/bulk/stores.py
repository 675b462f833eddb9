"""Object stores and other file systems that a URL names, through fsspec: what lies there, and copies of it here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from resight.bulk.clients import WebFiles, s3_of_arrow
from resight.errors import CohortError, DependencyError, ImageError, SettingsError, require

_IMAGE_SUFFIXES: Final = {"", ".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii", ".gz"}
"""What a store is asked for by name, since looking into every object costs a request each."""
_SLICE_SUFFIXES: Final = {"", ".dcm", ".dicom"}


def is_url(place: str) -> bool:
    """Whether this names a store (`s3://bucket/folder`) and not a path."""
    return "://" in place


def open_url(url: str) -> IO[bytes]:
    """Read an object from its beginning.

    Raises:
        SettingsError: there is no such scheme.
        DependencyError: the library of the scheme is not installed.
        CohortError: it cannot be read.
    """
    files, path = _file_system(url)
    try:
        return files.open(path, "rb")
    except OSError as error:
        raise CohortError(f"cannot be read ({_reason(error)})", where=url) from error


def list_store(url: str, *, volumes: bool) -> Iterator[tuple[str, str]]:
    """Images below a URL, sorted: their names below it, and their own URLs.

    Args:
        url: of a folder or of one object.
        volumes: DICOM objects in a folder of their own are slices of one image, which is the folder.

    Raises:
        SettingsError: there is no such scheme.
        DependencyError: the library of the scheme is not installed.
        ImageError: nothing is there, or the store does not answer.
    """
    files, root = _file_system(url)
    try:
        found: list[str] = sorted(files.find(root))
    except FileNotFoundError:
        found = []
    except Exception as error:
        raise ImageError(f"cannot be listed ({_reason(error)})", where=url) from error
    if not found:
        raise ImageError("no such file or folder", where=url)
    if found == [root]:
        yield url, url
        return
    done: set[str] = set()
    for path in found:
        name = PurePosixPath(path).relative_to(root)
        if any(part.startswith(".") for part in name.parts) or name.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        is_slice = volumes and name.suffix.lower() in _SLICE_SUFFIXES
        one = name.parent.as_posix() if is_slice else name.as_posix()
        if one not in done:
            done.add(one)
            yield (one, f"{url.rstrip('/')}/{one}") if one != "." else (url, url)


def fetch(url: str, folder: Path) -> Path:
    """Copy an object, or a folder of slices, into a folder of this machine.

    Raises:
        ImageError: it is not there, or the store does not answer.
    """
    files, path = _file_system(url)
    target = folder / PurePosixPath(path).name
    try:
        if not files.isdir(path):
            with files.open(path, "rb") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            return target
        target.mkdir()
        for one in files.ls(path, detail=False):
            with files.open(one, "rb") as source, (target / PurePosixPath(one).name).open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
    except FileNotFoundError as error:
        raise ImageError("no such file or folder", where=url) from error
    except Exception as error:
        raise ImageError(f"cannot be fetched ({_reason(error)})", where=url) from error
    return target


def _file_system(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    core = require("fsspec.core", extra="cluster")
    known = require("fsspec.registry", extra="cluster").known_implementations
    if scheme not in {*known, "file", "memory"}:
        found = f"unknown scheme {scheme!r}"
        raise SettingsError(found, where=url, expected="a path, or file://, s3://, gs://, abfs://, http(s)://, ...")
    try:
        if scheme in ("http", "https") and find_spec("aiohttp") is None:
            return WebFiles(), url
        if scheme == "s3" and find_spec("s3fs") is None:
            return s3_of_arrow(), url.partition("://")[2].rstrip("/")
        return core.url_to_fs(url)
    except ImportError as error:
        raise DependencyError(f"the scheme {scheme!r} needs another library ({error})", where=url) from error
    except Exception as error:
        raise SettingsError(f"the store cannot be opened ({_reason(error)})", where=url) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
