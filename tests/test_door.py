"""`import resight` is light, and everything it promises is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import resight


def test_importing_the_package_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, resight; dir(resight); print(sorted({'torch', 'pandas', 'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", resight.__all__)
def test_every_public_name_can_be_used(name: str) -> None:
    assert getattr(resight, name) is not None
    assert name in dir(resight)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        resight.lood  # noqa: B018
