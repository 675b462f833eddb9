"""What server and sites say to each other, apart from how it travels: a kind, a round, small facts and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np

Kind = Literal[
    "hello", "columns", "sums", "train", "keys", "shares", "masked", "unmask", "count", "report", "done", "refused"
]
Arrays = Mapping[str, np.ndarray[Any, Any]]

PROTOCOL: Final = 2
"""Version of the messages; server and site must speak the same."""


@dataclass(frozen=True)
class Message:
    """One message in either direction; a reply has the kind of its request, or is `refused`.

    Attributes:
        kind: what is asked or answered.
        round: number of the round, from 0; -1 outside rounds.
        facts: plain values that JSON can hold.
        arrays: numbers by name.
    """

    kind: Kind
    round: int = -1
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arrays: Arrays = field(default_factory=dict[str, Any])

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def refused(request: Message, reason: str) -> Message:
    """The reply of a site, or the verdict of a server, that does not go on with a request."""
    return Message("refused", request.round, {"reason": reason})


class Transport(Protocol):
    """How messages travel; a site that does not answer is left out of the replies."""

    def sites(self) -> Sequence[str]:
        """Names of the sites that can be asked now."""
        ...

    def wait(self, count: int, known: Iterable[str], timeout_s: float) -> Sequence[str]:
        """Names of the sites that can be asked, once there are `count` of those in `known`, or time is over."""
        ...

    def ask(self, requests: Mapping[str, Message], timeout_s: float) -> Mapping[str, Message]:
        """Send one message to each site and collect the replies that come in time."""
        ...
