"""Small folders of real PNG files and cohorts without files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.types import Cohort


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Write grey PNG files of different content below a temporary folder."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 255, (24, 24), dtype=np.uint8)
            assert cv2.imwrite(str(path), noise)
        return tmp_path

    return write


@pytest.fixture
def table_of(tmp_path: Path) -> Callable[[str], Path]:
    """Write a table from its text and return its path."""

    def write(text: str, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_cohort() -> Callable[..., Cohort]:
    """A cohort from columns, without files; columns in capital letters are labels."""

    def make(**columns: object) -> Cohort:
        table = pd.DataFrame(columns)
        if "image" not in table:
            table.insert(0, "image", [f"{row:05d}.png" for row in range(len(table))])
        labels = tuple(str(c) for c in table if str(c).isupper())
        table = table.astype(dict.fromkeys(labels, float))
        return Cohort(table, labels, "binary" if len(labels) == 1 else "multilabel", Path("nowhere"), "made")

    return make
