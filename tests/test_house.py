"""Layout, sizes, exports and the README are what CONTRIBUTING.md says."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest

from resight.cli.main import build_app

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "resight"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def test_rooms_are_there_and_flat() -> None:
    floors = {"imaging", "preprocess", "cohorts", "blocks", "backbones", "heads", "models", "training"}
    assert floors | {"evaluation", "explain", "evidence", "experiments", "protocols", "cli"} <= set(ROOMS)
    assert all(len(path.relative_to(SOURCE).parts) <= 2 for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_a_file_keeps_the_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert path.stem not in {"utils", "util", "helpers", "common", "manager", "misc"}
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    assert not re.search(r"""["'(\s](/home/|/Users/|/work/|/root/|/tmp/|[A-Z]:\\)""", text)
    assert text.startswith('"""')


@pytest.mark.parametrize("room", ROOMS)
def test_exports_exist_and_are_documented(room: str) -> None:
    module = importlib.import_module(f"resight.{room}")
    assert module.__doc__
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"resight.{room}.{name}"


def _commands() -> list[str]:
    """Those of the README and of the pages people wrote; the reference is generated from the verbs themselves."""
    pages = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in p.parts)]
    blocks = [block for page in pages for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL)]
    joined = [block.replace("\\\n", " ") for block in blocks]
    lines = {line.strip().removeprefix("$ ") for block in joined for line in block.splitlines()}
    return sorted(line for line in lines if line.startswith("resight "))


@pytest.mark.parametrize("command", _commands())
def test_commands_of_the_pages_can_be_given(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    build_app().parse_args(words, exit_on_error=False, print_error=False)
