"""Reporting guidelines and rules as lists of what must be said, filled from what is known.

An item names the facts that answer it. A fact comes from the run or from a file in which people answer; what nobody
answers is called missing. The lists are the files in `lists/`: each item in our own words, with the number it has in
the source that the file names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import tomli_w

from resight.errors import SettingsError, nearest
from resight.evidence.tables import Row, Table

_LISTS = ("tripod_ai", "claim", "stard_ai", "gmlp", "ai_act", "pccp")

Status = Literal["answered", "partly", "missing"]


@dataclass(frozen=True)
class Item:
    """What must be said: number in the source, in our words, and the keys of the facts that say it."""

    number: str
    asks: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Checklist:
    """One list; `how` names its source and what is not sure about it."""

    name: str
    title: str
    how: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answered:
    """An item with its answer.

    Attributes:
        item: what was asked.
        text: the facts that are known.
        lacking: keys of those that are not.
    """

    item: Item
    text: str
    lacking: tuple[str, ...]

    @property
    def status(self) -> Status:
        """Answered only where nothing lacks."""
        return "answered" if not self.lacking else "partly" if self.text else "missing"


@cache
def load_checklists() -> tuple[Checklist, ...]:
    """Every list, reporting guidelines before rules."""
    return tuple(_load(name) for name in _LISTS)


def fill(checklist: Checklist, facts: Mapping[str, str]) -> tuple[Answered, ...]:
    """Answer every item of a list with what is known; blank facts count as unknown."""
    return tuple(_answer(item, facts) for item in checklist.items)


def missing_items(answered: Sequence[Answered]) -> int:
    """Items that are not, or only partly, answered."""
    return sum(one.status != "answered" for one in answered)


def checklist_table(answered: Sequence[Answered], caption: str) -> Table:
    """A filled list for a page; what lacks is named."""
    rows = [Row((one.item.number, one.item.asks, one.status, _cell(one))) for one in answered]
    return Table(caption, ("Item", "What must be said", "Status", "Answer"), tuple(rows), words=True)


def questions() -> dict[str, tuple[str, ...]]:
    """Key of every fact -> the items that ask for it, as `CLAIM (2024 update) 7: Sources of the data`."""
    asked: dict[str, list[str]] = {}
    for checklist in load_checklists():
        for item in checklist.items:
            for key in item.keys:
                asked.setdefault(key, []).append(f"{checklist.title} {item.number}: {item.asks}")
    return {key: tuple(places) for key, places in asked.items()}


def read_answers(path: Path) -> dict[str, str]:
    """Read what people answered.

    Args:
        path: TOML with one text per key, as `answers_text` writes it.

    Returns:
        The answers that are not blank.

    Raises:
        SettingsError: the file cannot be read, a key is asked for nowhere, or an answer is no text.
    """
    where = str(path)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot be read as TOML ({error})", where=where) from error
    known = questions()
    for key, text in given.items():
        if key not in known:
            raise SettingsError(f"nothing asks for {key!r}", where=where, fix=nearest(key, known))
        if not isinstance(text, str):
            raise SettingsError(f"{key} is {text!r}", where=where, expected="text in quotes")
    return {key: text.strip() for key, text in given.items() if text.strip()}


def answers_text(answers: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """A file for people to fill in: every question, those that nothing answers first.

    Args:
        answers: what people have answered so far.
        facts: what is known already, answers included.
    """
    lines = ["# Answers that only people can give. Fill in, then make the pack again with --answers.", ""]
    asked = questions()
    for heading, keys in (
        ("# Nothing answers these yet.", [key for key in asked if not facts.get(key)]),
        ("# These are answered; what you write is put before what the run knows.", [k for k in asked if facts.get(k)]),
    ):
        lines += [heading, ""]
        for key in keys:
            lines += [f"# {place}" for place in asked[key]]
            lines.append(tomli_w.dumps({key: answers.get(key, "")}))
    return "\n".join(lines)


def _load(name: str) -> Checklist:
    data = tomllib.loads(files("resight.evidence").joinpath("lists", f"{name}.toml").read_text(encoding="utf-8"))
    items = tuple(Item(number, asks, tuple(keys.split())) for number, asks, keys in data["items"])
    return Checklist(name, data["title"], data["how"], items)


def _answer(item: Item, facts: Mapping[str, str]) -> Answered:
    known = [facts[key] for key in item.keys if facts.get(key)]
    return Answered(item, " ".join(known), tuple(key for key in item.keys if not facts.get(key)))


def _cell(one: Answered) -> str:
    lacking = ", ".join(key.replace("_", " ") for key in one.lacking)
    return " ".join(part for part in (one.text, f"Missing: {lacking}." if lacking else "") if part)
