"""The ledger of a site: one line of JSON for every message that leaves it, written before it leaves.

It holds all small facts as they are sent; of arrays it says what they are, how many numbers, their size, their SHA-256,
who gets them and what protects them. A hospital can read it with any editor, and count for itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from resight.errors import DataError, OutputError
from resight.federated.messages import Message
from resight.federated.settings import PrivacyOptions
from resight.settings import plain

LINE: Final = (
    *("time", "round", "kind", "what", "to", "numbers", "protected_by"),
    *("facts", "arrays", "bytes", "sha256"),
)
"""Keys of every line, for people in this order."""
_WHAT: Final = {
    "hello": "who the site is: software versions, label names, numbers of images",
    "columns": "which clinical columns hold numbers, and which names the others hold",
    "sums": "of each clinical column how many values are known, and the sum of numbers or of squared distances",
    "train": "how the weights changed in training at the site",
    "keys": "public keys for one secure sum",
    "shares": "encrypted shares of this site's masks, one for each other site",
    "masked": "numbers of this site under masks that only the sum over sites takes off",
    "unmask": "shares of masks, to open the sum over sites and nothing else",
    "count": "how many images of each label state have each rounded score",
    "report": "metrics of this site with intervals",
    "done": "that the end was heard",
    "refused": "why the site did not do what was asked",
}
_HELD_BACK: Final = "; its numbers are held back until they can leave under masks"
_TO: Final = {"keys": "all sites, through the server", "shares": "each other site, through the server"}
_PROTECTED: Final = {
    "shares": "encrypted for the site that each is for; the server cannot read them",
    "masked": "masks; the server can read the sum over sites alone",
}
_OPEN: Final = "TLS on the way; the server reads it"


class Ledger:
    """Appends to one file.

    Args:
        path: JSON lines; made where it is not there.
        privacy: of the federation, says how updates are protected.
    """

    def __init__(self, path: Path, privacy: PrivacyOptions) -> None:
        self.path, self._privacy = path, privacy

    def record(self, reply: Message) -> None:
        """Write down what is about to leave.

        Args:
            reply: the message.

        Raises:
            OutputError: it cannot be written; then nothing must leave.
        """
        digest = hashlib.sha256()
        for name, array in sorted(reply.arrays.items()):
            digest.update(name.encode() + array.tobytes())
        held_back = "largest" in reply.facts and not reply.arrays
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "round": reply.round,
            "kind": reply.kind,
            "what": _WHAT[reply.kind] + (_HELD_BACK if held_back else ""),
            "to": _TO.get(reply.kind, "server"),
            "facts": plain(dict(reply.facts)),
            "arrays": len(reply.arrays),
            "numbers": sum(array.size for array in reply.arrays.values()),
            "bytes": reply.size_bytes,
            "sha256": digest.hexdigest() if reply.arrays else None,
            "protected_by": _PROTECTED.get(reply.kind, _OPEN) + self._noise(reply),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry, sort_keys=True) + "\n")
        except OSError as error:
            raise OutputError(f"the ledger cannot be written ({error.strerror})", where=str(self.path)) from error

    def _noise(self, reply: Message) -> str:
        """What noise the numbers of an update carry, held back or not; counts and sums carry none."""
        if reply.kind != "train" or self._privacy.differential == "none":
            return ""
        norm = f"clipped to norm {self._privacy.clip_norm:g}"
        return f"; noise, {norm}" if self._privacy.differential == "site" else f"; noise in training, each image {norm}"


@dataclass(frozen=True)
class Departure:
    """What left a site in one kind of message, in all its rounds.

    Attributes:
        what: it was.
        to: whom.
        messages: how many.
        numbers: in their arrays.
        size_bytes: of these.
        first: time of the first message, ISO 8601.
        last: of the last one.
        protected_by: what keeps the numbers from being read.
    """

    what: str
    to: str
    messages: int
    numbers: int
    size_bytes: int
    first: str
    last: str
    protected_by: str


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All lines of a ledger.

    Raises:
        DataError: it is not there, or a line is none of ours.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"the ledger cannot be read ({error})", where=str(path)) from error
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            read = json.loads(line)
            found.append({key: read[key] for key in LINE})
        except (ValueError, KeyError, TypeError) as error:
            reason = f"line {number} is no line of a ledger"
            raise DataError(reason, where=str(path), fix="It was cut off or changed.") from error
    return found


def departures(entries: Iterable[Mapping[str, Any]]) -> list[Departure]:
    """What left, in the order in which each kind left first."""
    kinds: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        kinds.setdefault((entry["what"], entry["to"], entry["protected_by"]), []).append(entry)
    return [
        Departure(
            what,
            to,
            len(of_kind),
            sum(int(entry["numbers"]) for entry in of_kind),
            sum(int(entry["bytes"]) for entry in of_kind),
            min(entry["time"] for entry in of_kind),
            max(entry["time"] for entry in of_kind),
            protected,
        )
        for (what, to, protected), of_kind in kinds.items()
    ]
