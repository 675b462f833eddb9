"""What all tests share: one thread, and the door to the real images."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import settings

# A test that hypothesis draws is slow when the machine is busy, which says nothing about the code.
settings.register_profile("resight", deadline=None)
settings.load_profile("resight")

_DATA = Path(os.environ.get("RESIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A folder of real images by name, for example `real_data("dicom_variety")`; skips where it is absent."""

    def folder(name: str) -> Path:
        path = _DATA / name
        if not path.is_dir():
            pytest.skip(f"real images are not here: {path}")
        return path

    return folder


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, so that a full disk is a real one; skips where none may be mounted."""
    folder, mount = tmp_path / "tiny disk", shutil.which("mount")
    folder.mkdir()
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "resight-test", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)
