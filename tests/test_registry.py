"""A member registers itself in its file, and is found by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import Field

from resight.errors import SettingsError
from resight.registry import Registry
from resight.settings import Options


class WideOptions(Options):
    """A wide thing.

    More about it.
    """

    width: int = Field(default=4, gt=0)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A room of its own with one file that registers one member."""
    room = tmp_path / "a_room_for_tests"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "base.py").write_text(
        "from resight.registry import Registry\nTHINGS = Registry('thing', 'a_room_for_tests')\n"
    )
    (room / "narrow.py").write_text(
        "from resight.settings import Options\nfrom a_room_for_tests.base import THINGS\n"
        "class NarrowOptions(Options):\n    'A narrow thing.'\n"
        "@THINGS.register('narrow', NarrowOptions)\ndef narrow(options, *, size):\n    return size\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import a_room_for_tests.base as base  # type: ignore[import-not-found]

    yield base.THINGS
    for name in [name for name in sys.modules if name.startswith("a_room_for_tests")]:
        del sys.modules[name]


def test_files_of_the_room_are_imported_at_the_first_look(registry: Registry) -> None:
    assert "a_room_for_tests.narrow" not in sys.modules
    assert registry.names() == ("narrow",)
    assert registry.build("narrow", size=3) == 3
    assert registry.member("narrow").summary == "A narrow thing."


def test_options_are_checked_and_given_to_the_builder(registry: Registry) -> None:
    @registry.register("wide", WideOptions)
    def wide(options: WideOptions, *, size: int) -> int:
        return options.width * size

    assert registry.names() == ("narrow", "wide")
    assert registry.build("wide", {"width": 5}, size=2) == 10
    assert registry.build("wide", WideOptions(width=6), size=2) == 12
    assert registry.build("wide", size=2) == 8
    assert registry.member("wide").summary == "A wide thing."
    with pytest.raises(SettingsError, match=r"thing 'wide': unknown key 'widht'. Did you mean 'width'\?"):
        registry.build("wide", {"widht": 5}, size=2)
    with pytest.raises(SettingsError, match=r"thing 'wide': width = 0"):
        registry.build("wide", {"width": 0}, size=2)


def test_an_unknown_name_names_the_nearest(registry: Registry) -> None:
    with pytest.raises(SettingsError, match=r"settings.toml: unknown thing 'narow'. Did you mean 'narrow'\?"):
        registry.member("narow", where="settings.toml")


def test_a_name_is_taken_once(registry: Registry) -> None:
    assert registry.names()
    with pytest.raises(ValueError, match="thing 'narrow' is registered twice"):
        registry.register("narrow", WideOptions)(lambda options: options)
