"""Writing a store: `images.npy` (`uint8`, `(N, C, *size)`), then `index.json`; without the index it is half written.

Images are prepared in several processes, each of which writes its images into their places in the file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from resight.errors import ImageError, OutputError
from resight.preprocess.recipe import Recipe
from resight.preprocess.store_worker import Failures, Task, Worker, prepare_chunk
from resight.settings import write_json
from resight.types import Files

if sys.platform != "win32":
    import fcntl

FORMAT = 1
IMAGES, INDEX = "images.npy", "index.json"
Progress = Callable[[int, int], None]
_CHUNK = 16  # images a worker prepares between two reports
_WORTH_PROCESSES = 64 * 2**20  # bytes of source files that take about as long to prepare as processes to start


def write_store(
    paths: Sequence[Files],
    recipe: Recipe,
    folder: Path,
    workers: int | None,
    max_failed_share: float,
    progress: Progress | None,
) -> None:
    """Prepare all images into a folder; the arguments are those of `Store.build`.

    Raises:
        ImageError: too many images cannot be read.
        OutputError: the disk is too small, or a worker was killed.
        OSError: the disk said no.
    """
    shape = (len(paths), recipe.input_channels, *recipe.size_px)
    # stamped before decoding: a file that changes meanwhile makes the store stale, not wrong
    sources = [(source_name(path), *stamp(path)) for path in paths]
    partial = folder / f"{IMAGES}.partial"
    try:
        start = _reserve(partial, shape)
        chunks = range(0, len(paths), _CHUNK)
        tasks = [Task(recipe, tuple(paths[first : first + _CHUNK]), first, partial, start) for first in chunks]
        count = _worker_count(workers, len(tasks), sum(size for _, size, _ in sources))
        failures: Failures = {}
        with contextlib.closing(_results(tasks, count, folder)) as results:
            for number, failed in enumerate(results, start=1):
                failures |= failed
                _check_failed(failures, len(paths), max_failed_share, folder)
                if progress:
                    progress(min(number * _CHUNK, len(paths)), len(paths))
        (folder / INDEX).unlink(missing_ok=True)
        partial.replace(folder / IMAGES)
    finally:
        partial.unlink(missing_ok=True)
    index = {
        "format": FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "fingerprint": recipe.fingerprint(),
        "bytes": start + _bytes(shape),
        "sources": sources,
        "errors": failures,
    }
    partial = folder / f"{INDEX}.partial"
    write_json(partial, index)
    partial.replace(folder / INDEX)


def source_name(files: Files) -> str:
    """What the index calls the files of one row."""
    return str(files) if isinstance(files, Path) else " + ".join("-" if path is None else str(path) for path in files)


def stamp(path: Files) -> tuple[int, int]:
    """Size and time of change; of a series folder or several files, of all together; -1 for what is not there."""
    if isinstance(path, tuple):
        stamps = [stamp(one) for one in path if one is not None]
        return sum(size for size, _ in stamps), max((changed for _, changed in stamps), default=-1)
    try:
        entries = [p.stat() for p in path.iterdir()] if path.is_dir() else [path.stat()]
    except OSError:
        return -1, -1
    return sum(e.st_size for e in entries), max((e.st_mtime_ns for e in entries), default=-1)


def check_budget(paths: Sequence[Files], recipe: Recipe, max_bytes: int, folder: Path) -> None:
    """Refuse what is over the disk budget.

    Raises:
        OutputError: it is.
    """
    shape = (len(paths), recipe.input_channels, *recipe.size_px)
    if _bytes(shape) > max_bytes:
        raise OutputError(
            f"the store of {shape[0]} images of {'x'.join(map(str, shape[1:]))} takes {_bytes(shape) / 1e9:.3g} GB",
            where=str(folder),
            expected=f"at most {max_bytes / 1e9:.3g} GB",
            fix="Raise the budget or choose a smaller size_px.",
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time build in a folder, where the platform can; a killed one lets go."""
    with (folder / "lock").open("w") as stream:
        if sys.platform != "win32":
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _results(tasks: list[Task], workers: int, folder: Path) -> Generator[Failures, None, None]:
    if workers == 1:
        yield from map(prepare_chunk, tasks)
        return
    with ThreadPoolExecutor(workers) as threads, contextlib.ExitStack() as stack:
        idle: SimpleQueue[Worker] = SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(Worker(folder)))

        def run(task: Task) -> Failures:
            worker = idle.get()
            try:
                return worker.prepare(task)
            finally:
                idle.put(worker)

        try:
            for future in as_completed([threads.submit(run, task) for task in tasks]):
                yield future.result()
        finally:
            threads.shutdown(cancel_futures=True)


def _reserve(partial: Path, shape: tuple[int, ...]) -> int:
    """Write the header and take the disk space, so that a full disk is an error now; say where the images begin.

    Raises:
        OutputError: the disk is too small.
    """
    free = shutil.disk_usage(partial.parent).free
    if _bytes(shape) > free:
        sizes = f"the store takes {_bytes(shape) / 1e9:.3g} GB, the disk has {free / 1e9:.3g} GB free"
        raise OutputError(sizes, where=str(partial.parent))
    with partial.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        stream.flush()
        start = stream.tell()
        if sys.platform == "linux":
            os.posix_fallocate(stream.fileno(), 0, start + _bytes(shape))
        else:
            stream.truncate(start + _bytes(shape))
    return start


def _bytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _worker_count(workers: int | None, chunks: int, source_bytes: int) -> int:
    if workers is None:
        usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        workers = usable if source_bytes >= _WORTH_PROCESSES else 1
    return max(1, min(workers, chunks))


def _check_failed(failures: Failures, images: int, max_failed_share: float, folder: Path) -> None:
    if len(failures) > max_failed_share * images:
        raise ImageError(
            f"{len(failures)} of {images} images cannot be used, the first: {failures[min(failures)]}",
            where=str(folder),
            expected=f"at most a share of {max_failed_share:g}",
        )
