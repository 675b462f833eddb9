from __future__ import annotations

import errno
import multiprocessing
import operator
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from resight.errors import CohortError, DataError, ImageError, OutputError
from resight.preprocess import Recipe, Store, store_worker

_RECIPE = Recipe(size_px=(24, 24))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(5)
    paths = [tmp_path / f"{number:03d}.png" for number in range(40)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (30, 26), dtype=np.uint8))
    return paths


def test_holds_what_the_recipe_prepares(files: list[Path], tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    store = Store.build(files, _RECIPE, tmp_path / "s", progress=lambda done, total: reports.append((done, total)))
    assert len(store) == 40
    assert store.images.shape == (40, 1, 24, 24)
    assert store.errors == {}
    for number in (0, 17, 39):
        np.testing.assert_array_equal(store[number], _RECIPE.prepare(files[number]))
    assert reports == [(16, 40), (32, 40), (40, 40)]
    assert np.shares_memory(store[3], store.images)
    assert not store[3].flags.writeable
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["images.npy", "index.json", "lock"]


def test_two_workers_write_what_one_does(files: list[Path], tmp_path: Path) -> None:
    for workers in (1, 2):
        Store.build(files, _RECIPE, tmp_path / str(workers), workers=workers)
    for name in ("images.npy", "index.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_is_opened_again_while_nothing_changed(files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "s"
    built = (Store.build(files, _RECIPE, folder).folder / "images.npy").stat().st_ino
    reports: list[int] = []
    Store.build(files, _RECIPE, folder, progress=lambda done, _: reports.append(done))
    assert not reports
    assert (folder / "images.npy").stat().st_ino == built


@pytest.mark.parametrize("change", ["recipe", "order", "content", "time"])
def test_is_built_again_when_something_changed(files: list[Path], tmp_path: Path, change: str) -> None:
    old = Store.build(files, _RECIPE, tmp_path / "s")
    before = old[2].copy()
    recipe, paths = _RECIPE, list(files)
    if change == "recipe":
        recipe = Recipe(size_px=(24, 24), resize="stretch")
    elif change == "order":
        paths.reverse()
    elif change == "content":
        cv2.imwrite(str(files[2]), np.zeros((30, 26), np.uint8))
    else:
        os.utime(files[2], ns=(1, 1))
    reason = old.stale(paths, recipe)
    assert {"recipe": "recipe", "order": "list of images", "content": "002.png", "time": "002.png"}[change] in reason
    new = Store.build(paths, recipe, tmp_path / "s")
    assert not new.stale(paths, recipe)
    np.testing.assert_array_equal(new[2], recipe.prepare(paths[2]))
    np.testing.assert_array_equal(old[2], before)  # who has the old one open keeps it


def test_unreadable_images_are_zero_and_named(files: list[Path], tmp_path: Path) -> None:
    files[7].write_bytes(b"no image")
    files[21].unlink()
    store = Store.build(files, _RECIPE, tmp_path / "s", max_failed_share=0.05)
    assert set(store.errors) == {7, 21}
    assert "007.png" in store.errors[7]
    assert not store[7].any()
    assert store[8].any()
    with pytest.raises(ImageError, match=r"of 40 images cannot be used, the first: .*007\.png"):
        Store.build(files, _RECIPE, tmp_path / "t", max_failed_share=0.04)
    with pytest.raises(DataError, match="incomplete"):
        Store.open(tmp_path / "t")


_BUILD = """
import sys, time
from pathlib import Path
from resight.preprocess import Recipe, Store
folder, workers, *files = sys.argv[1:]
def report(done, total):
    print(done, flush=True)
    time.sleep(0.3)
Store.build([Path(f) for f in files], Recipe(size_px=(24, 24)), Path(folder), workers=int(workers), progress=report)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_mid_build_then_built_again(files: list[Path], tmp_path: Path, workers: int) -> None:
    folder, whole = tmp_path / "s", Store.build(files, _RECIPE, tmp_path / "whole")
    command = [sys.executable, "-c", _BUILD, str(folder), str(workers), *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (folder / "images.npy.partial").exists()
    with pytest.raises(DataError, match=r"half written\. Build it again"):
        Store.open(folder)
    again = Store.build(files, _RECIPE, folder)
    np.testing.assert_array_equal(again.images, whole.images)
    for name in ("images.npy", "index.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (folder / "images.npy.partial").exists()


def test_killed_worker_gives_one_clear_error(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_worker, "_START", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)")
    with pytest.raises(OutputError, match=r"died \(exit code -9\)\. Most often memory ran out") as caught:
        Store.build(files, _RECIPE, tmp_path / "s", workers=2)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s" / "images.npy.partial").exists()


def test_damaged_stores_are_noticed_and_replaced(files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "s"
    for damage in ("truncate", "no array", "garbage", "version"):
        Store.build(files, _RECIPE, folder)
        array, index = folder / "images.npy", folder / "index.json"
        if damage == "truncate":
            os.truncate(array, 1000)
        elif damage == "no array":
            array.unlink()
        else:
            index.write_text("{" if damage == "garbage" else '{"format": 0}')
        with pytest.raises(DataError, match="Build it again"):
            Store.open(folder)
        np.testing.assert_array_equal(Store.build(files, _RECIPE, folder)[5], _RECIPE.prepare(files[5]))
    with pytest.raises(DataError, match="no such store"):
        Store.open(tmp_path / "nowhere")


def test_budget_disk_and_permission(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"40 images of 1x24x24 takes 2\.3e-05 GB; expected at most 1e-06 GB"):
        Store.build(files, _RECIPE, tmp_path / "s", max_bytes=1000)
    with pytest.raises(OutputError, match=r"cannot be written \((Not a directory|File exists)"):
        Store.build(files, _RECIPE, files[0])
    with pytest.raises(CohortError, match="no images"):
        Store.build([], _RECIPE, tmp_path / "s")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"No space left on device"):
        Store.build(files, _RECIPE, tmp_path / "s")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OutputError, match=r"the disk has 1e-08 GB free"):
        Store.build(files, _RECIPE, tmp_path / "s")


def test_a_disk_that_fills_up_leaves_the_old_store_and_nothing_half_written(
    files: list[Path], tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_disk / "s"
    Store.build(files[:4], _RECIPE, folder, workers=1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    larger = Recipe(size_px=(256, 256))
    with pytest.raises(OutputError, match=r"the store takes 0\.00262 GB, the disk has 0\.00\d+ GB free"):
        Store.build(files, larger, folder, workers=1)
    # between that look and the writing somebody else takes the space
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(OutputError, match=r"s: the store cannot be written \(No space left on device\)"):
        Store.build(files, larger, folder, workers=1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(Store.open(folder)) == 4


def test_full_disk_in_a_worker_reaches_the_caller(files: list[Path], tmp_path: Path) -> None:
    task = store_worker.Task(_RECIPE, tuple(files[:2]), 0, Path("/dev/full"), 0)
    with store_worker.Worker(tmp_path) as worker, pytest.raises(OSError, match="No space left") as caught:
        worker.prepare(task)
    assert caught.value.errno == errno.ENOSPC


def test_crosses_processes_as_its_folder(files: list[Path], tmp_path: Path) -> None:
    store = Store.build(files, _RECIPE, tmp_path / "s")
    store.images.sum()
    assert len(pickle.dumps(store)) < 500
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        received = pool.apply_async(operator.getitem, (store, 3)).get(timeout=60)
    np.testing.assert_array_equal(received, store[3])


def test_later_passes_are_fast(files: list[Path], tmp_path: Path) -> None:
    """Measured at 400,000 a second and more for 24 px; the floor is for busy machines."""
    store = Store.build(files, _RECIPE, tmp_path / "s")
    start = time.process_time()
    for _ in range(50):
        for number in range(40):
            store[number].sum()
    assert 2000 / (time.process_time() - start) > 5000
