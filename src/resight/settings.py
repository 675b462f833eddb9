"""Typed settings: TOML in, checked key by key, and the record of a run out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from resight.errors import SettingsError, nearest, similar_path, writing


class Options(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def load_toml(path: Path, model: type[AnyOptions], overrides: Iterable[str] = ()) -> AnyOptions:
    """Read a settings file and check every key and value.

    Args:
        path: TOML file.
        model: the settings class.
        overrides: `section.key=value` strings, the value in TOML syntax (bare words count as strings).

    Raises:
        SettingsError: no such file, not TOML, unknown key (nearest match and line named) or impossible value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SettingsError("no such file", where=str(path), fix=similar_path(path)) from None
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror})", where=str(path), expected="a TOML file") from error
    except UnicodeDecodeError:
        raise SettingsError("not text in UTF-8", where=str(path), expected="a TOML file") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"not valid TOML: {error}", where=str(path)) from error
    given = list(overrides)
    for override in given:
        _apply_override(data, override)
    return validate(model, data, where=str(path), text=text, overridden=given)


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`section.key=value` strings as nested mappings.

    Raises:
        SettingsError: a string without `=`.
    """
    data: dict[str, Any] = {}
    for override in overrides:
        _apply_override(data, override)
    return data


def dump_toml(settings: Options) -> str:
    """The settings as TOML, every default written out; keys without a value are left away."""
    return tomli_w.dumps(_without_none(settings.model_dump(mode="json")))


def begin_with(settings: Options, path: Path) -> None:
    """Make the folder of a settings file and write it.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump_toml(settings), encoding="utf-8")


def validate(
    model: type[AnyOptions],
    data: Mapping[str, Any],
    *,
    where: str,
    text: str = "",
    below: Sequence[str] = (),
    overridden: Sequence[str] = (),
) -> AnyOptions:
    """Build settings from a mapping; the first thing wrong becomes one readable line.

    Args:
        model: the settings class.
        data: keys and values.
        where: what the data came from, for the message.
        text: the TOML text, to name the line.
        below: sections of the text that the data stand in.
        overridden: overrides, which are to blame where the value is theirs.

    Raises:
        SettingsError: unknown key or impossible value.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors()[0]
        inside = [str(part) for part in first["loc"]]
        location = [*below, *inside]
        place = place_of(location, where=where, text=text, overridden=overridden)
        key = ".".join(location)
        if first["type"] == "extra_forbidden":
            names = _keys_at(model, inside[:-1])
            raise SettingsError(f"unknown key {key!r}", where=place, fix=nearest(location[-1], names)) from None
        if first["type"] == "missing":
            raise SettingsError(f"the key {key!r} is missing", where=place) from None
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise SettingsError(
            f"{key} = {first['input']!r}" if key else "settings", where=place, expected=message
        ) from None


def place_of(location: Sequence[str], *, where: str, text: str, overridden: Sequence[str] = ()) -> str:
    """Where a setting was given: `--set` for an override, otherwise file and line.

    Args:
        location: sections and key.
        where: the file.
        text: its text; empty where there is no file.
        overridden: overrides `section.key=value`.
    """
    keys = (override.partition("=")[0].strip().split(".") for override in overridden)
    if any(list(location[: len(key)]) == key for key in keys):
        return "--set"
    line = _line_of(text, location)
    return f"{where}:{line}" if line else where


def write_json(path: Path, data: Any) -> None:
    """Write JSON with sorted keys; NaN becomes null, so that every reader can parse it."""
    path.write_text(json.dumps(plain(data), indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN becomes None; settings, dataclasses, NumPy scalars and arrays become plain."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in cast("Sequence[Any]", value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in cast("dict[str, Any]", value).items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in cast("list[Any]", value)]
    return value


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator:
        raise SettingsError(f"override {override!r}", where="--set", expected="section.key=value")
    try:
        value = tomllib.loads(f"v = {raw}")["v"]
    except tomllib.TOMLDecodeError:
        value = raw
    *sections, last = key.strip().split(".")
    for section in sections:
        inner: Any = data.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"override {override!r}", where="--set", expected=f"{section!r} to be a section")
        data = cast("dict[str, Any]", inner)
    data[last] = value


def _keys_at(model: type[Options], location: Sequence[str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(part)
        if field is None:  # the place in a list
            continue
        inner = _options_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _options_in(annotation: Any) -> type[Options] | None:
    """The first settings class that an annotation such as `tuple[Inner, ...] | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return annotation
    return next((inner for inner in map(_options_in, get_args(annotation)) if inner), None)


def _line_of(text: str, location: Sequence[str]) -> int:
    """Line of a key below its [section] header; 0 when it is not in the text (an override, a default)."""
    section: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+([^\[\]]+)\]", line):
            section = [part.strip() for part in header[1].split(".")]
            if section == list(location):
                return number
        elif (key := re.match(r"\s*([\w.-]+)\s*=", line)) and [*section, *key[1].split(".")] == list(location):
            return number
    return 0
