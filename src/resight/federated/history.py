"""What happened in a federation: its rounds and refusals, in memory and, line by line, in `rounds.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resight.settings import plain


@dataclass
class History:
    """What happened: rounds that were finished, and every refusal in one line."""

    rounds: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refusals: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Diary:
    """Keeps a history, and tells people of it while it happens.

    Args:
        folder: of `rounds.jsonl`, which holds every entry, also of rounds that a kill undid.
        say: told in one line what is refused and what is noteworthy.
    """

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        self.say = say
        self.history = History()
        self._folder = folder

    def refuse(self, site: str, number: int, reason: str) -> None:
        """Note why something did not count.

        Args:
            site: whose; empty for the round as a whole.
            number: of the round from 0; -1 before the first one.
            reason: in one line.
        """
        entry = {"refused": site or "the round", "site": site, "round": number, "reason": reason}
        self.history.refusals.append(entry)
        self.say(f"{f'round {number + 1}: ' if number >= 0 else ''}{entry['refused']}: {reason}")
        self.write(entry)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Put a line into the file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "rounds.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(plain(dict(entry)), sort_keys=True) + "\n")
