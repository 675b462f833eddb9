"""The server's part in a secure sum: it passes mail on, and opens the sum of those who stayed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resight.errors import TrainingError
from resight.federated.aggregate import Tensors
from resight.federated.masks import Opened, check_threshold, opened_sum, usual_threshold
from resight.federated.messages import Message, Transport
from resight.federated.ring import Ring
from resight.federated.secure_site import arrays_as_keys, keys_as_arrays, unflat


@dataclass(frozen=True)
class SecureSum:
    """A sum that was opened.

    Attributes:
        total: sum over the sites that stayed of weight x values.
        stayed: those sites.
        silent: sites that fell silent on the way.
        error: largest distance of any number from the exact sum.
    """

    total: Tensors
    stayed: tuple[str, ...]
    silent: tuple[str, ...]
    error: float


def secure_sum(
    transport: Transport,
    held: Mapping[str, Message],
    like: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, float],
    *,
    threshold: int,
    timeout_s: float,
) -> SecureSum:
    """Add up what sites hold back, without seeing what any of them holds.

    Args:
        transport: reaches the sites.
        held: the reply of each site that holds something, with its fact `largest`.
        like: shape of every array in the sum.
        weights: of each site, above 0 and at most 1.
        threshold: sites that must stay; 0 for more than two thirds.
        timeout_s: how long each step waits.

    Raises:
        TrainingError: too few sites, from the start or at the end; or a check sum that is wrong.
    """
    number = next(iter(held.values())).round if held else -1
    # A sum that cannot be opened by more than half must not begin: count first.
    check_threshold(len(held), threshold or usual_threshold(len(held)))
    bound = max(float(message.facts["largest"]) for message in held.values())
    session = f"{number}/{secrets.token_hex(16)}"
    start = {"bound": bound, "sites": len(held), "session": session}
    step = _Steps(transport, number, timeout_s)
    found = step({name: Message("keys", number, start | {"weight": weights[name]}) for name in held})
    keys = {name: arrays_as_keys(reply.arrays)[name] for name, reply in found.items() if name in reply.arrays}
    needed = threshold or usual_threshold(len(keys))
    check_threshold(len(keys), needed)
    request = Message("shares", number, {"threshold": needed}, keys_as_arrays(keys))
    boxes = step(dict.fromkeys(keys, request))
    # Only sites that gave everybody their shares can be taken out again.
    boxes = {name: reply for name, reply in boxes.items() if reply.arrays.keys() == keys.keys() - {name}}
    mail = {
        name: Message("masked", number, arrays={by: reply.arrays[name] for by, reply in boxes.items() if by != name})
        for name in boxes
    }
    sent = step(mail)
    size = sum(int(np.prod(shape)) for shape in like.values()) + 1
    masked = {
        name: array
        for name, reply in sent.items()
        if (array := reply.arrays.get("masked")) is not None and array.shape == (size,) and array.dtype == np.uint64
    }
    silent = sorted(boxes.keys() - masked.keys())
    if len(masked) < needed:
        fix = "The round is repeated when more sites are back."
        found_line = f"{len(masked)} sites stayed"
        raise TrainingError(found_line, where="secure aggregation", expected=f"at least {needed}", fix=fix)
    question = Message("unmask", number, {"stayed": sorted(masked), "silent": silent})
    answers = {name: _opened(reply) for name, reply in step(dict.fromkeys(masked, question)).items()}
    complete = {n: a for n, a in answers.items() if a.own.keys() == masked.keys() and a.pair.keys() == set(silent)}
    shared = {name: one for name, one in keys.items() if name in boxes}
    total = opened_sum(masked, shared, complete, needed, session.encode(), numbered=tuple(keys))
    ring = Ring(bound, len(held))
    gone = tuple(sorted(held.keys() - masked.keys()))
    return SecureSum(unflat(ring.decode(total), like), tuple(sorted(masked)), gone, ring.error)


class _Steps:
    """Asks and keeps the replies that are no refusals."""

    def __init__(self, transport: Transport, number: int, timeout_s: float) -> None:
        self._transport, self._number, self._timeout_s = transport, number, timeout_s

    def __call__(self, requests: Mapping[str, Message]) -> dict[str, Message]:
        replies = self._transport.ask(requests, self._timeout_s)
        return {
            name: reply
            for name, reply in replies.items()
            if reply.kind == requests[name].kind and reply.round == self._number
        }


def _opened(reply: Message) -> Opened:
    own = {n.removeprefix("own/"): a.tobytes() for n, a in reply.arrays.items() if n.startswith("own/")}
    pair = {n.removeprefix("pair/"): a.tobytes() for n, a in reply.arrays.items() if n.startswith("pair/")}
    return Opened(own, pair)
