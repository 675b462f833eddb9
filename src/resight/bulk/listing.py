"""Which images there are, written down once before the first is read, so that a restart sees the same list.

The list is an SQLite file: any part of it is found without reading the others, a name stands in it once, and memory
does not grow with the number of images.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final

from resight.bulk.stores import is_url, list_store, open_url
from resight.errors import CohortError, ImageError, OutputError, nearest, require
from resight.models import named_sources

_MANIFEST_SUFFIXES: Final = (".csv", ".tsv", ".txt", ".parquet")
_SEPARATORS: Final = ",;\t|"
_AT_ONCE: Final = 1000


def is_manifest(place: str) -> bool:
    """Whether a path or URL names a table of images rather than images."""
    return place.lower().endswith(_MANIFEST_SUFFIXES)


class ImageList:
    """A list of images that was written.

    Args:
        path: of the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def write(cls, path: Path, inputs: Sequence[str], *, volumes: bool) -> tuple[ImageList, int]:
        """List files, folders, DICOM series, tables and stores; the file appears complete or not at all.

        Args:
            path: of the SQLite file.
            inputs: paths and URLs; images below a single folder are named by their path in it.
            volumes: DICOM objects of one folder of a store are slices of one image.

        Returns:
            The list, and how often a name came again and was left away.

        Raises:
            CohortError: a table cannot be read, has no column `image`, or names no image in a row.
            ImageError: there is no such file, folder or object.
            SettingsError: a URL has an unknown scheme.
            OutputError: the list cannot be written.
        """
        partial = path.with_name(f"{path.name}.partial")
        partial.unlink(missing_ok=True)
        mentioned = 0
        try:
            with closing(sqlite3.connect(partial)) as base, base:
                base.execute("PRAGMA journal_mode = OFF")  # a list that was not finished is begun anew
                base.execute("CREATE TABLE images (position INTEGER PRIMARY KEY, name TEXT UNIQUE, place TEXT)")
                for rows in _chunks(_named_places(inputs, volumes=volumes)):
                    base.executemany("INSERT OR IGNORE INTO images (name, place) VALUES (?, ?)", rows)
                    mentioned += len(rows)
            partial.replace(path)
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"the list of images cannot be written ({error})", where=str(path)) from error
        images = cls(path)
        return images, mentioned - len(images)

    def __len__(self) -> int:
        return int(self._rows("SELECT COUNT(*) FROM images")[0][0])

    def part(self, number: int, size: int) -> list[tuple[str, str]]:
        """Names and places of one part.

        Args:
            number: of the part, from 1.
            size: images in a full part.
        """
        first = (number - 1) * size + 1
        query = "SELECT name, place FROM images WHERE position BETWEEN ? AND ? ORDER BY position"
        return self._rows(query, first, first + size - 1)

    def _rows(self, query: str, *values: int) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as base:
                return base.execute(query, values).fetchall()
        except sqlite3.Error as error:
            fix = "Give --force to begin anew."
            raise OutputError(f"the list of images cannot be read ({error})", where=str(self.path), fix=fix) from error


def _named_places(inputs: Sequence[str], *, volumes: bool) -> Iterator[tuple[str, str]]:
    relative = len(inputs) == 1
    for place in inputs:
        if is_manifest(place):
            yield from _of_manifest(place)
        elif is_url(place):
            yield from ((name if relative else url, url) for name, url in list_store(place, volumes=volumes))
        elif not Path(place).exists():
            raise ImageError("no such file or folder", where=place)
        else:
            yield from (
                (name, str(source)) for name, source in named_sources([place], relative=relative, volumes=volumes)
            )


def _of_manifest(place: str) -> Iterator[tuple[str, str]]:
    """Images of a table; paths in it that are not absolute lie beside it."""
    beside = place.rpartition("/")[0] if is_url(place) else str(Path(place).parent)
    for row, name in enumerate(_image_column(place), start=1):
        if not name:
            raise CohortError(f"no image in row {row}", where=place)
        # joined as text: pathlib keeps every name it has seen in a table that does not shrink
        yield name, name if is_url(name) or name.startswith("/") else f"{beside}/{name}"


def _image_column(place: str) -> Iterator[str]:
    if not is_url(place) and not Path(place).is_file():
        raise CohortError("no such file", where=place)
    with open_url(place) if is_url(place) else Path(place).open("rb") as stream:
        try:
            yield from _of_parquet(stream, place) if place.lower().endswith(".parquet") else _of_text(stream, place)
        except (UnicodeError, csv.Error, OSError, ValueError) as error:
            raise CohortError(f"cannot be read as a table ({error})", where=place) from error


def _of_text(stream: IO[bytes], place: str) -> Iterator[str]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        header = text.readline()
        separator = max(_SEPARATORS, key=header.count)
        column = _column(next(csv.reader([header], delimiter=separator), []), place)
        for row in csv.reader(text, delimiter=separator):
            if row:
                yield row[column].strip() if column < len(row) else ""


def _of_parquet(stream: IO[bytes], place: str) -> Iterator[str]:
    table = require("pyarrow.parquet", extra="parquet").ParquetFile(stream)
    name = table.schema_arrow.names[_column(table.schema_arrow.names, place)]
    for rows in table.iter_batches(batch_size=_AT_ONCE, columns=[name]):
        yield from ("" if value is None else str(value) for value in rows.column(0).to_pylist())


def _column(names: Sequence[str], place: str) -> int:
    stripped = [name.strip() for name in names]
    if "image" not in stripped:
        raise CohortError("no column 'image'", where=place, fix=nearest("image", stripped))
    return stripped.index("image")


def _chunks(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    chunk: list[tuple[str, str]] = []
    for pair in pairs:
        chunk.append(pair)
        if len(chunk) == _AT_ONCE:
            yield chunk
            chunk = []
    yield chunk
