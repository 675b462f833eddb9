"""Reading and writing tables: CSV with any separator and a byte-order mark, or Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from resight.errors import DataError, OutputError, nearest, require, similar_path

_SEPARATORS = (",", ";", "\t", "|")
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None", "<NA>", "#N/A", "#NA")
"""What stands for a missing value in a column of numbers or attributes, as pandas reads it."""
_MISSING_TEXT = ("", "nan", "NaN", "<NA>")
"""The same in a text column: only what programs write, since a class may be called None and a patient NA."""
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(path: Path, *, error: type[DataError], text_columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read CSV (also gzipped) or Parquet.

    Args:
        path: the file; `.parquet` is Parquet, all else text whose separator is found in the header line.
        error: what to raise.
        text_columns: columns that stay text, such as identifiers with leading zeros; compared by `column_key`.

    Returns:
        The table with column names stripped of blanks.

    Raises:
        DataError: of the class asked for: absent, empty, or not a table.
    """
    where = str(path)
    if not path.is_file():
        if path.is_dir():
            raise error("is a folder", where=where, expected="a table (CSV or Parquet)")
        raise error("no such file", where=where, fix=similar_path(path))
    if path.stat().st_size == 0:
        raise error("the file is empty (0 bytes)", where=where)
    try:
        if path.suffix == ".parquet":
            require("pyarrow", extra="parquet")
            table = pd.read_parquet(path)
        else:
            table = _read_text(path, text_columns)
    except (OSError, ValueError, EOFError, pd.errors.ParserError) as cause:
        reason = " ".join(str(cause).split()).removeprefix("Error tokenizing data. C error: ")
        raise error(f"cannot be read as a table ({reason})", where=where, expected="CSV or Parquet") from cause
    table.columns = [str(c).strip() for c in table.columns]
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write CSV, or Parquet where the name ends in `.parquet`; floats keep all digits.

    A table that was there before is replaced by the whole new one or stays.

    Raises:
        OutputError: disk full, no permission, or no such folder.
        DependencyError: Parquet is asked for and its library is not installed.
    """
    if path.suffix == ".parquet":
        require("pyarrow", extra="parquet")
    is_file = path.is_file() or not path.exists()  # a pipe or device takes what it gets
    partial = path.with_name(f".partial-{path.name}") if is_file else path
    try:
        if path.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            table.to_csv(partial, index=False, lineterminator="\n")
        if is_file:
            partial.replace(path)
    except OSError as error:
        if is_file:
            partial.unlink(missing_ok=True)
        raise OutputError(f"cannot be written ({error.strerror or error})", where=str(path)) from error


def require_columns(table: pd.DataFrame, *names: str, error: type[DataError], where: str) -> None:
    """Check that columns are there.

    Args:
        table: as read.
        names: of the columns.
        error: what to raise.
        where: the file, for the message.

    Raises:
        DataError: of the class asked for: names the first that is absent, and the one that comes nearest.
    """
    for name in names:
        if name not in table.columns:
            raise error(f"no column {name!r}", where=where, fix=nearest(name, map(str, table.columns)))


def column_key(name: str) -> str:
    """A column name without case, blanks and punctuation: `Patient ID`, `patient_id` and `PatientID` are one."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _refuse_repeated(header: Sequence[str]) -> None:
    """Two columns of one name: which of them is meant, nobody can tell."""
    names = [name.strip() for name in header if name.strip()]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"the column {repeated[0]!r} is there {names.count(repeated[0])} times; keep one")


def _read_text(path: Path, text_columns: tuple[str, ...]) -> pd.DataFrame:
    wanted = {column_key(name) for name in text_columns}
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as raw:
        is_utf16 = raw.read(2) in _UTF16_MARKS
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "latin-1"):
        try:
            with opened(path, "rt", encoding=encoding, newline="") as stream:
                first = stream.readline()
                separator = max(_SEPARATORS, key=first.count)
                _refuse_repeated(next(csv.reader([first], delimiter=separator), []))
                stream.seek(0)
                header = pd.read_csv(stream, sep=separator, nrows=0).columns
                stream.seek(0)
                texts = [name for name in header if column_key(str(name)) in wanted]
                types: Any = dict.fromkeys(texts, str)
                return pd.read_csv(
                    stream,
                    sep=separator,
                    dtype=types,
                    na_values=dict.fromkeys(header, _MISSING) | dict.fromkeys(texts, _MISSING_TEXT),
                    keep_default_na=False,
                    float_precision="round_trip",  # the default loses the last bit
                    low_memory=False,
                )
        except UnicodeError:
            continue
    raise ValueError("the text is not encoded as UTF-8, UTF-16 or Latin-1")
