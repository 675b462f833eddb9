"""What verbs share: results to stdout, talk and progress to stderr, and outputs that nothing overwrites by accident."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from resight.errors import OutputError
from resight.settings import plain, write_json

if TYPE_CHECKING:  # it brings pandas, which --help does not need
    from resight import types

_MADE_BY_US = (
    *("settings.toml", "truth.csv", "phantom/truth.csv", "study.md", "study.json"),
    *("evidence.csv", "pack.json", "deidentified.csv", "server/kit.toml"),
)
"""Files that tell a folder of ours (run, phantom, study, maps, pack, ...) from one that holds somebody's images.

None of them lies where people keep experiment files and folders of runs.
"""
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(e[-+]?\d+)?%?([ /].*)?|nan|none|not estimable.*|")
"""A cell of a column of numbers: a figure, perhaps with its interval or a second figure, or why there is none."""
talk = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """One line of talk."""
    talk.print(line, markup=False, soft_wrap=True)


def result_json(data: Any) -> None:
    """Print a result for programs."""
    print(json.dumps(plain(data), indent=2, sort_keys=True))


def result_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a result for people; columns of numbers are right-aligned."""
    cells = [[str(cell) for cell in row] for row in rows]
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(_NUMBER.fullmatch(row[index]) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


def check_free(*paths: Path | None, force: bool, resumable: bool = False) -> None:
    """Refuse output paths that are taken or cannot be written, before any work is done for them.

    Args:
        paths: outputs; None stands for one that was not asked for.
        force: replace what is there.
        resumable: the verb can go on with what is there, and the refusal says so.

    Raises:
        OutputError: one exists and `force` is off, replacing it would remove what Resight did not make or the folder
            one is in, or nothing may be written there.
    """
    for path in paths:
        if path is None:
            continue
        if _is_taken(path):
            _check_taken(path, force=force, resumable=resumable)
        else:
            _check_writable(path)


def fresh(path: Path, *, force: bool, resumable: bool = False) -> Path:
    """Make sure that an output path is free.

    Args:
        path: output.
        force: replace what is there.
        resumable: as for `check_free`.

    Raises:
        OutputError: as `check_free`, or it cannot be removed or its parent cannot be made.
    """
    check_free(path, force=force, resumable=resumable)
    if _is_taken(path):
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise OutputError(f"cannot be replaced ({error.strerror})", where=str(path)) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be made ({error.strerror})", where=str(path.parent)) from error
    return path


def deliver(found: Any, *, out: Path | None, force: bool, as_json: bool) -> bool:
    """Write a result as JSON where that was asked for; whether it was also printed for programs.

    Raises:
        OutputError: as `fresh`.
    """
    if out is not None:
        write_json(fresh(out, force=force), found)
        say(f"written: {out}")
    if as_json:
        result_json(found)
    return as_json


def _is_taken(path: Path) -> bool:
    """A file, or a folder with something in it; not a device such as `/dev/stdout`."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _is_ours(path: Path) -> bool:
    return any((path / name).exists() for name in _MADE_BY_US)


def _check_taken(path: Path, *, force: bool, resumable: bool) -> None:
    if not force:
        going_on = "give --resume to go on with it, " if resumable and _is_ours(path) else ""
        fix = f"Choose another name, {going_on}or give --force."
        raise OutputError("exists already", where=str(path), fix=fix)
    if not path.is_dir():
        return
    if Path.cwd().is_relative_to(path.resolve()):
        found = "--force would remove the folder you are in"
        raise OutputError(found, where=str(path), fix="Choose another folder.")
    if not _is_ours(path):
        found = "--force replaces only folders that Resight made, and this one holds something else"
        raise OutputError(found, where=str(path), fix="Choose another folder.")


def _check_writable(path: Path) -> None:
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise OutputError("a file", where=str(parent), expected="a folder to write to", fix="Choose another name.")
    if not path.exists() and not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError("you may not write there", where=str(parent), fix="Choose another folder.")


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def progress_bars() -> Iterator[types.Progress]:
    """A progress listener that draws one bar per stage on stderr; quiet where stderr is no terminal."""
    bars = Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
        console=talk,
        disable=not talk.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def update(stage: str, done: int, total: int, detail: str) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total, detail=detail)
            if bars.disable:
                say(f"{stage}: {total}")
        bars.update(tasks[stage], completed=done, total=total, detail=detail)

    with bars:
        yield update
