"""The ledger of a site: one line of JSON for every message that leaves it, written before it leaves.

It holds all small facts as they are sent; of arrays it says what they are, how many numbers, their size, their SHA-256
and what protects them. A hospital can read it with any editor, and count for itself.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from resight.errors import OutputError
from resight.federated.messages import Message
from resight.settings import plain

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


class Ledger:
    """Appends to one file.

    Args:
        path: JSON lines; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, reply: Message, *, protection: str) -> None:
        """Write down what is about to leave.

        Args:
            reply: the message.
            protection: what keeps its arrays from being read.

        Raises:
            OutputError: it cannot be written; then nothing must leave.
        """
        digest = hashlib.sha256()
        for name, array in sorted(reply.arrays.items()):
            digest.update(name.encode() + array.tobytes())
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "round": reply.round,
            "kind": reply.kind,
            "what": _WHAT[reply.kind],
            "facts": plain(dict(reply.facts)),
            "arrays": len(reply.arrays),
            "numbers": sum(array.size for array in reply.arrays.values()),
            "bytes": reply.size_bytes,
            "sha256": digest.hexdigest() if reply.arrays else None,
            "protected_by": protection,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry, sort_keys=True) + "\n")
        except OSError as error:
            raise OutputError(f"the ledger cannot be written ({error.strerror})", where=str(self.path)) from error
