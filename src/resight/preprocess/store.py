"""The store of prepared images: every file is decoded once, then read from a memory-mapped array.

Memory maps are shared between processes and given back to the system when memory is short.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from resight.errors import CohortError, DataError, OutputError, SettingsError
from resight.preprocess.recipe import Recipe
from resight.preprocess.store_writer import (
    FORMAT,
    IMAGES,
    INDEX,
    Progress,
    check_budget,
    locked,
    source_name,
    stamp,
    write_store,
)
from resight.settings import validate
from resight.types import Files, PreparedImage


@dataclass(frozen=True)
class Store:
    """Prepared images on disk; crosses to other processes as its folder only.

    Attributes:
        folder: where it lies.
        recipe: what the images were prepared with.
        sources: for each image the path as given, size in bytes and time of change in nanoseconds.
        errors: for each image that could not be read, why; its pixels are 0.
    """

    folder: Path
    recipe: Recipe
    sources: tuple[tuple[str, int, int], ...]
    errors: dict[int, str]

    @classmethod
    def build(
        cls,
        paths: Sequence[Files],
        recipe: Recipe,
        folder: Path,
        *,
        max_bytes: int = 32 * 2**30,
        workers: int | None = None,
        max_failed_share: float = 0.05,
        progress: Progress | None = None,
    ) -> Store:
        """Prepare all images, or open the store when it holds just these files, unchanged, by the same recipe.

        Args:
            paths: files or series folders, or several of each patient, in the order of the store.
            recipe: how to prepare them.
            folder: where to keep the store; another store in it is replaced.
            max_bytes: disk budget.
            workers: processes; when not given, one per processor, or only this one where files are few and small.
            max_failed_share: share of images that may be unreadable, 0 to 1.
            progress: called with the number of images done and of all.

        Raises:
            CohortError: no images.
            ImageError: too many images cannot be read.
            OutputError: over budget, disk full, no permission, or a worker was killed.
        """
        if not paths:
            raise CohortError("no images to prepare", where=str(folder))
        check_budget(paths, recipe, max_bytes, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                if store := cls._open_fresh(paths, recipe, folder):
                    return store
                write_store(paths, recipe, folder, workers, max_failed_share, progress)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"the store cannot be written ({reason})", where=str(folder)) from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open a store that was built.

        Raises:
            DataError: there is none, it is half written or damaged, or of another version.
        """
        where, fix = str(folder), "Build it again."
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = "half written" if folder.is_dir() and any(folder.iterdir()) else "no such store"
            raise DataError(f"the store is incomplete: {found}", where=where, fix=fix) from None
        except (OSError, ValueError) as error:
            raise DataError(f"the store's index cannot be read ({error})", where=where, fix=fix) from error
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            raise DataError("the store is of another version", where=where, fix=fix)
        try:
            recipe = validate(Recipe, index["recipe"], where=f"{where}/{INDEX}")
        except SettingsError as error:
            raise DataError(f"the store's recipe is of another version ({error})", where=where, fix=fix) from error
        sources = tuple((str(name), int(size), int(changed)) for name, size, changed in index["sources"])
        store = cls(folder, recipe, sources, {int(k): str(v) for k, v in index["errors"].items()})
        if index["fingerprint"] != recipe.fingerprint():
            raise DataError("the store was prepared by other arithmetic", where=where, fix=fix)
        if not (folder / IMAGES).is_file() or (folder / IMAGES).stat().st_size != index["bytes"]:
            raise DataError(f"{IMAGES} is missing or truncated", where=where, fix=fix)
        return store

    def stale(self, paths: Sequence[Files], recipe: Recipe) -> str:
        """Why the store does not serve for these files and this recipe; empty when it does."""
        if recipe.fingerprint() != self.recipe.fingerprint():
            return "the recipe has changed"
        if [source_name(path) for path in paths] != [name for name, _, _ in self.sources]:
            return "the list of images has changed"
        pairs = zip(paths, self.sources, strict=True)
        changed = [name for path, (name, *before) in pairs if stamp(path) != tuple(before)]
        return f"{len(changed)} source files have changed, the first is {changed[0]}" if changed else ""

    @cached_property
    def images(self) -> UInt8[np.memmap, "N C *space"]:
        """All prepared images, mapped from disk."""
        return np.load(self.folder / IMAGES, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> PreparedImage:
        """One prepared image, without a copy."""
        return np.asarray(self.images[index])

    def read_ahead(self, rows: Iterable[int]) -> None:
        """Have the system fetch images that are needed soon, while others are worked on; costs nothing in memory."""
        mapping, size = self.images.base, self.images[0].nbytes
        if not (isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED")):
            return
        before = self.images.offset % mmap.ALLOCATIONGRANULARITY  # the map begins where the system lets it
        for row in rows:
            start = before + row * size
            page = start - start % mmap.PAGESIZE
            mapping.madvise(mmap.MADV_WILLNEED, page, start - page + size)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.folder,)

    @classmethod
    def _open_fresh(cls, paths: Sequence[Files], recipe: Recipe, folder: Path) -> Store | None:
        try:
            store = cls.open(folder)
        except DataError:
            return None
        return None if store.stale(paths, recipe) else store
