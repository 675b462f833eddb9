"""A site's messages in secure aggregation: what was computed is held back until it can leave under masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from resight.errors import TrainingError
from resight.federated.aggregate import Tensors
from resight.federated.masks import PublicKeys, SiteMasks
from resight.federated.messages import Arrays, Message
from resight.federated.ring import Ring

_WHERE = "secure aggregation"


class SecureSite:
    """Keeps the numbers of one step and takes part in their sum.

    Args:
        name: the site.
        identity: its Ed25519 private key; None where it has none.
        roster: raw public keys of all sites.
    """

    def __init__(self, name: str, identity: Any, roster: Mapping[str, bytes]) -> None:
        self._name, self._identity, self._roster = name, identity, roster
        self._held: np.ndarray[Any, Any] | None = None
        self._masks: SiteMasks | None = None
        self._ring: Ring | None = None
        self._weight = 1.0

    def hold(self, number: int, arrays: Arrays) -> None:
        """Keep what is to be added up, instead of sending it."""
        self._held = flat(arrays)
        self._number = number

    @property
    def largest(self) -> float:
        """A power of two above every absolute value that is held."""
        assert self._held is not None
        value = float(np.max(np.abs(self._held), initial=0.0))
        return math.ldexp(1.0, math.frexp(value)[1]) if value else 0.0

    def keys(self, request: Message) -> Message:
        """Keys for one sum; its session, bound and this site's weight come with the request."""
        if self._identity is None:
            fix = "Give the site a start-up kit that resight federate provision made."
            raise TrainingError("this site has no key of its own", where=_WHERE, fix=fix)
        if self._held is None or request.round != self._number:
            raise TrainingError("nothing is held back for this round", where=_WHERE)
        self._ring = Ring(float(request.facts["bound"]), int(request.facts["sites"]))
        self._weight = float(request.facts["weight"])
        if not 0 < self._weight <= 1:
            raise TrainingError(f"weight {self._weight:g}", where=_WHERE, expected="above 0, at most 1")
        session = str(request.facts["session"]).encode()
        self._masks = SiteMasks(self._name, self._identity, self._roster, session)
        return Message("keys", request.round, arrays=keys_as_arrays({self._name: self._masks.public}))

    def shares(self, request: Message) -> Message:
        """Encrypted shares for the others."""
        boxes = self._started().shares(arrays_as_keys(request.arrays), int(request.facts["threshold"]))
        return Message("shares", request.round, arrays={name: _bytes(box) for name, box in boxes.items()})

    def masked(self, request: Message) -> Message:
        """What is held, under masks."""
        masks = self._started()
        assert self._held is not None
        assert self._ring is not None
        inbox = {name: box.tobytes() for name, box in request.arrays.items()}
        total = masks.masked(self._ring.encode(self._held * self._weight), inbox)
        self._held = None
        return Message("masked", request.round, arrays={"masked": total})

    def unmask(self, request: Message) -> Message:
        """Shares that open the sum."""
        found = self._started().open(list(request.facts["stayed"]), list(request.facts["silent"]))
        self._masks = None
        own = {f"own/{name}": _bytes(share) for name, share in found.own.items()}
        pair = {f"pair/{name}": _bytes(share) for name, share in found.pair.items()}
        return Message("unmask", request.round, arrays=own | pair)

    def _started(self) -> SiteMasks:
        if self._masks is None:
            raise TrainingError("no sum was begun, or it was opened already", where=_WHERE)
        return self._masks


def flat(arrays: Arrays) -> np.ndarray[Any, Any]:
    """All numbers in a row, by name in alphabetical order, in float64."""
    return np.concatenate([np.asarray(arrays[name], np.float64).ravel() for name in sorted(arrays)])


def unflat(values: np.ndarray[Any, Any], like: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Numbers in a row as arrays of the given shapes.

    Raises:
        TrainingError: another count of numbers.
    """
    sizes = {name: int(np.prod(like[name])) for name in sorted(like)}
    if len(values) != sum(sizes.values()):
        raise TrainingError(f"{len(values)} numbers", where=_WHERE, expected=str(sum(sizes.values())))
    parts = np.split(values, np.cumsum(list(sizes.values()))[:-1])
    return {name: part.reshape(like[name]) for name, part in zip(sizes, parts, strict=True)}


def keys_as_arrays(keys: Mapping[str, PublicKeys]) -> Tensors:
    """Public keys as a message carries them."""
    return {name: _bytes(one.box + one.mask + one.signature) for name, one in keys.items()}


def arrays_as_keys(arrays: Arrays) -> dict[str, PublicKeys]:
    """Public keys out of a message.

    Raises:
        TrainingError: not the length of keys.
    """
    keys: dict[str, PublicKeys] = {}
    for name, array in arrays.items():
        text = array.tobytes()
        if len(text) != 128:
            raise TrainingError(f"the keys of {name!r} have {len(text)} bytes", where=_WHERE, expected="128")
        keys[name] = PublicKeys(text[:32], text[32:64], text[64:])
    return keys


def _bytes(text: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(text, np.uint8)
