"""Where the images of a table are: beside it, below it, or under another extension."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd


def find_images(names: pd.Series[str], folders: Iterable[Path]) -> tuple[Path, pd.Series[str], int]:
    """Look for every listed image, first as written, then anywhere below by file name, then by stem.

    Args:
        names: image names, POSIX style, relative or absolute.
        folders: where to look; the one in which most images lie as written wins, the first one on a tie.

    Returns:
        The folder; the path of each image below it (empty where there is none); and how many were found
        elsewhere than written.
    """
    candidates = [(folder, _as_written(names, folder)) for folder in dict.fromkeys(folders)]
    root, there = max(candidates, key=lambda pair: int(pair[1].sum()))
    if there.all():
        return root, names, 0
    by_name, by_stem = _index(root)
    absent = names[~there]
    last = absent.str.rsplit("/", n=1).str[-1]
    found = pd.Series([by_name.get(name) or by_stem.get(name, "") for name in last], index=absent.index, dtype=object)
    return root, pd.concat([names[there], found]).reindex(names.index), int((found != "").sum())


def _as_written(names: pd.Series[str], folder: Path) -> pd.Series[bool]:
    """Which names exist below the folder; each directory is listed once, which is far cheaper than asking per file."""
    parents = names.str.rpartition("/")[0]
    listed = {parent: _entries(folder / parent) for parent in parents.unique()}
    exists = [name.rpartition("/")[2] in listed[parent] for name, parent in zip(names, parents, strict=True)]
    return pd.Series(exists, index=names.index, dtype=bool)


def _entries(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 -- names are wanted, not paths


def _index(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """File name -> path and stem -> path below the root; only those that are unique."""
    names: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    for relative in _walk(root):
        name = relative.rpartition("/")[2]
        names.setdefault(name, []).append(relative)
        stems.setdefault(Path(name.removesuffix(".gz")).stem, []).append(relative)
    return _unique(names), _unique(stems)


def _walk(root: Path) -> Iterator[str]:
    for folder, _, files in os.walk(root):
        below = Path(folder).relative_to(root).as_posix()
        yield from (name if below == "." else f"{below}/{name}" for name in sorted(files))


def _unique(groups: dict[str, list[str]]) -> dict[str, str]:
    return {key: paths[0] for key, paths in groups.items() if len(paths) == 1}
