"""Our messages as Flower's: the apps that Flower runs at the server and at a site, and how messages are packed.

Arrays travel as an `ArrayRecord` (NumPy's own format, read without pickle), facts as JSON in a `ConfigRecord`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, cast

from resight.errors import DependencyError, TrainingError, require
from resight.federated.messages import Kind, Message, refused
from resight.federated.site import Site
from resight.settings import plain

_POLL_S: Final = 0.1
_SLACK_S: Final = 60.0
"""Flower forgets messages later than we stop waiting for them."""
_TYPES: Final[Mapping[str, str]] = {"train": "train", "count": "evaluate", "report": "evaluate"}
"""Flower's message types; all others are queries."""
_KNOWN_FLOWER: Final = ("1.41",)
"""Versions whose network interface is known; it is not part of what Flower promises to keep."""


def flower(module: str) -> Any:
    """A module of Flower, in a version that is known.

    Raises:
        DependencyError: not installed, or another version.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # Flower would report every start to its makers
    require("flwr", extra="federated")
    if not (found := version("flwr")).startswith(_KNOWN_FLOWER):
        raise DependencyError(f"Flower {found}", expected=" or ".join(_KNOWN_FLOWER), fix="Install flwr==1.41.*")
    return require(module, extra="federated")


def pack(message: Message) -> Any:
    """A message as a Flower `RecordDict`."""
    app = flower("flwr.app")
    facts = {"kind": message.kind, "round": message.round, "facts": json.dumps(plain(dict(message.facts)))}
    arrays = {name: app.Array(array) for name, array in message.arrays.items()}
    return app.RecordDict({"message": app.ConfigRecord(facts), "arrays": app.ArrayRecord(arrays)})


def unpack(content: Any) -> Message:
    """What `pack` packed.

    Raises:
        TrainingError: something else.
    """
    try:
        facts = content["message"]
        arrays = {name: array.numpy() for name, array in content["arrays"].items()}
        return Message(cast("Kind", str(facts["kind"])), int(facts["round"]), json.loads(facts["facts"]), arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"a message that is not one of ours ({error})", where="network") from error


def client_app(site: Site, fault: Callable[[BaseException], None]) -> Any:
    """The Flower `ClientApp` of a site.

    Args:
        site: answers.
        fault: told of faults of the program; the server hears the error's type only.
    """
    app = flower("flwr.clientapp").ClientApp()
    reply_of = flower("flwr.app").Message

    def answer(message: Any, context: Any) -> Any:
        del context
        request = unpack(message.content)
        try:
            reply = site.answer(request)
        except Exception as error:  # noqa: BLE001 (whatever it is, the site goes on and the server is told)
            fault(error)
            reply = refused(request, f"a fault at the site ({type(error).__name__}); its log says more")
            site.ledger.record(reply)
        return reply_of(pack(reply), reply_to=message)

    for register in (app.train(), app.evaluate(), app.query()):
        register(answer)
    return app


def server_app(run: Callable[[GridTransport], None], names: Mapping[int, str], arrivals: Mapping[int, int]) -> Any:
    """The Flower `ServerApp` that runs a federation.

    Args:
        run: does everything, given a transport.
        names: site of every node.
        arrivals: how often each node came so far.
    """
    app = flower("flwr.serverapp").ServerApp()

    @app.main()
    def main(grid: Any, context: Any) -> None:
        del context
        run(GridTransport(grid, names, arrivals))

    return app


class GridTransport:
    """Our transport over a Flower grid.

    Args:
        grid: reaches the nodes that are there.
        names: site of every node.
        arrivals: how often each node came so far; one that comes again has forgotten what it was asked.
    """

    def __init__(self, grid: Any, names: Mapping[int, str], arrivals: Mapping[int, int]) -> None:
        self._grid, self._names, self._arrivals = grid, dict(names), arrivals
        self._nodes = {name: node for node, name in names.items()}

    def sites(self) -> Sequence[str]:
        """Sites whose heartbeat is heard."""
        return sorted(self._names[node] for node in self._grid.get_node_ids() if node in self._names)

    def wait(self, count: int, known: Iterable[str], timeout_s: float) -> Sequence[str]:
        """Sites that are there once they are enough, or somebody new came, or time is over."""
        end, before = time.monotonic() + timeout_s, set(known)
        while time.monotonic() < end:
            there = self.sites()
            if len(there) >= count or set(there) - before:
                return there
            time.sleep(_POLL_S)
        return self.sites()

    def ask(self, requests: Mapping[str, Message], timeout_s: float) -> Mapping[str, Message]:
        """Replies that come in time, from sites that stay."""
        message_of = flower("flwr.app").Message
        sent: dict[str, tuple[str, int]] = {}
        for name, request in requests.items():
            node, kind = self._nodes[name], _TYPES.get(request.kind, "query")
            lasting = timeout_s + _SLACK_S
            message = message_of(pack(request), node, kind, ttl=lasting, group_id=str(request.round))
            came = self._arrivals.get(node, 0)
            sent |= {identifier: (name, came) for identifier in self._grid.push_messages([message]) if identifier}
        replies: dict[str, Message] = {}
        end = time.monotonic() + timeout_s
        while sent and time.monotonic() < end:
            for reply in self._grid.pull_messages(list(sent)):
                name, _ = sent.pop(reply.metadata.reply_to_message_id, ("", 0))
                if name and reply.has_content():
                    replies[name] = _read(reply.content, requests[name])
            sent = {i: (name, came) for i, (name, came) in sent.items() if came == self._arrivals[self._nodes[name]]}
            time.sleep(_POLL_S)
        return replies


def _read(content: Any, request: Message) -> Message:
    try:
        return unpack(content)
    except TrainingError as error:
        return refused(request, str(error))
