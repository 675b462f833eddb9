"""TOML in, one readable line for what is wrong, the same TOML out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from resight.errors import SettingsError
from resight.settings import Options, dump_toml, load_toml, validate, write_json


class Inner(Options):
    """Inside."""

    rate: float = Field(default=0.1, ge=0)
    tags: tuple[str, ...] = ()


class Outer(Options):
    """Outside."""

    name: str = "x"
    depth: int | None = None
    inner: Inner = Inner()
    rules: tuple[Inner, ...] = ()
    maybe: Inner | None = None


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode())
    return path


def test_values_overrides_and_bare_words(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "a"\n[inner]\nrate = 0.5\n')
    overrides = ["inner.rate=2", "name=resnet50", 'inner.tags=["p", "q"]', "maybe.rate = 3"]
    found = load_toml(path, Outer, overrides)
    assert found == Outer(name="resnet50", inner=Inner(rate=2, tags=("p", "q")), maybe=Inner(rate=3))
    assert load_toml(written(tmp_path, '\ufeffname = "a"\r\n'), Outer).name == "a"


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    settings = Outer(name='quo"te', depth=3, rules=(Inner(rate=1), Inner(tags=("ä",))), maybe=Inner())
    assert load_toml(written(tmp_path, dump_toml(settings)), Outer) == settings
    assert "depth" not in dump_toml(Outer())
    assert "rate = 0.1" in dump_toml(Outer())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\n[inner]\n\nrat = 1\n', r":4: unknown key 'inner.rat'. Did you mean 'rate'\?"),
        ("nam = 1\n", r":1: unknown key 'nam'. Did you mean 'name'\?"),
        ("[innner]\nrate = 1\n", r"unknown key 'innner'. Did you mean 'inner'\?"),
        ("inner.rat = 1\n", r":1: unknown key 'inner.rat'. Did you mean 'rate'\?"),
        ("[maybe]\nrat = 1\n", r":2: unknown key 'maybe.rat'. Did you mean 'rate'\?"),
        ("[[rules]]\nrat = 1\n", r"unknown key 'rules.0.rat'. Did you mean 'rate'\?"),
        ("[inner]\nrate = -1\n", r":2: inner.rate = -1; expected greater than or equal to 0"),
        ("[inner]\nrate = nan\n", r":2: inner.rate = nan; expected .*finite"),
        ("name = \n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_toml(written(tmp_path, text), Outer)


def test_unreadable_files_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name, message in (
        ("binry.toml", r"binry.toml: no such file. Did you mean '.*binary.toml'\?"),
        ("binary.toml", "binary.toml: not text in UTF-8; expected a TOML file"),
        ("", r"cannot be read \(Is a directory\); expected a TOML file"),
    ):
        with pytest.raises(SettingsError, match=message):
            load_toml(tmp_path / name, Outer)
    path = written(tmp_path, "")
    with pytest.raises(SettingsError, match=r"--set: override 'name'; expected section.key=value"):
        load_toml(path, Outer, ["name"])
    with pytest.raises(SettingsError, match=r"unknown key 'inner.rat'"):
        load_toml(path, Outer, ["inner.rat=1"])
    with pytest.raises(SettingsError, match=r"--set: override 'name.deep=1'; expected"):
        load_toml(written(tmp_path, 'name = "a"\n'), Outer, ["name.deep=1"])


def test_missing_keys_are_named() -> None:
    class Needs(Options):
        """Needs one."""

        path: str

    with pytest.raises(SettingsError, match="here: the key 'path' is missing"):
        validate(Needs, {}, where="here")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().name = "b"  # type: ignore[misc]


def test_json_has_no_nan_and_takes_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    data = {
        "b": float("nan"),
        "a": [np.float32(0.5), np.int64(3), np.bool_(True), float("inf")],
        "c": np.array([1.0, np.nan]),
    }
    write_json(path, data)
    assert json.loads(path.read_text()) == {"a": [0.5, 3, True, None], "b": None, "c": [1.0, None]}
    assert path.read_text().startswith('{\n  "a"')
