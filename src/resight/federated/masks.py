"""Secure aggregation of one sum, a site's part and the server's (Bonawitz et al., CCS 2017, figure 4).

Every two sites agree on a mask that one adds and the other subtracts; every site adds one more of its own. Seeds of all
masks are shared among the sites, so that the masks of those who fall silent can be taken out. Keys: X25519 with HKDF,
signed by the sites (Ed25519); shares travel in ChaCha20-Poly1305; masks are the ChaCha20 key stream.

The server is taken to be curious and to do its part; it may collude with fewer sites than the threshold. The threshold
is more than half of the sites, and a site opens masks once, so that no two views of who stayed can both be opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import UInt64

from resight.errors import TrainingError, require
from resight.federated.shamir import SHARE_BYTES, join, split

Vector = UInt64[np.ndarray, " V"]
FEWEST_SITES: Final = 3
"""With two sites each could subtract its own update from the sum."""
_WHERE: Final = "secure aggregation"


@dataclass(frozen=True)
class PublicKeys:
    """A site's keys for one sum.

    Attributes:
        box: encrypts shares for it.
        mask: makes the masks it has in common with others.
        signature: of both and the session, by the site's own key.
    """

    box: bytes
    mask: bytes
    signature: bytes


@dataclass(frozen=True)
class Opened:
    """What a site gives for opening a sum: of each other site one kind of share, never both.

    Attributes:
        own: shares of the own masks of sites that stayed.
        pair: shares of the mask keys of sites that fell silent.
    """

    own: Mapping[str, bytes]
    pair: Mapping[str, bytes]


def usual_threshold(sites: int) -> int:
    """More than two thirds of the sites."""
    return 2 * sites // 3 + 1


def check_threshold(sites: int, threshold: int) -> None:
    """Refuse a sum that would hide nothing.

    Raises:
        TrainingError: too few sites, or a threshold that two halves could both reach.
    """
    if sites < FEWEST_SITES:
        fix = "Wait for more sites, or switch secure aggregation off."
        raise TrainingError(f"{sites} sites", where=_WHERE, expected=f"at least {FEWEST_SITES}", fix=fix)
    if not sites / 2 < threshold <= sites:
        raise TrainingError(f"threshold {threshold} of {sites} sites", where=_WHERE, expected="more than half of them")


class SiteMasks:
    """One site's part in one sum; used once.

    Args:
        name: the site.
        identity: its Ed25519 private key.
        roster: raw public keys of all sites that may take part.
        session: names the sum; another for every sum.
    """

    def __init__(self, name: str, identity: Any, roster: Mapping[str, bytes], session: bytes) -> None:
        x25519 = require("cryptography.hazmat.primitives.asymmetric.x25519", extra="federated")
        self.name, self._roster, self._session = name, roster, session
        self._box, self._mask = x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
        self._own_seed = os.urandom(32)
        box, mask = self._box.public_key().public_bytes_raw(), self._mask.public_key().public_bytes_raw()
        self.public = PublicKeys(box, mask, identity.sign(session + box + mask))
        self._keys: dict[str, PublicKeys] = {}
        self._held: dict[str, tuple[bytes, bytes]] = {}
        self._boxes: dict[bytes, bytes] = {}
        self._threshold = 0
        self._opened = False

    def shares(self, keys: Mapping[str, PublicKeys], threshold: int) -> dict[str, bytes]:
        """Encrypted shares of both seeds for every other site.

        Raises:
            TrainingError: too few sites, a key that its site did not sign, or one that is not on the roster.
        """
        check_threshold(len(keys), threshold)
        for name, one in keys.items():
            _check_signature(name, one, self._roster, self._session)
        if keys.get(self.name) != self.public:
            raise TrainingError("the server sent other keys for this site", where=_WHERE)
        self._keys, self._threshold = dict(keys), threshold
        numbers = _numbers(tuple(keys))
        own = split(self._own_seed, list(numbers.values()), threshold)
        pair = split(self._mask.private_bytes_raw(), list(numbers.values()), threshold)
        self._held[self.name] = own[numbers[self.name]], pair[numbers[self.name]]
        return {
            name: self._cipher(one, self.name, name).encrypt(bytes(12), own[numbers[name]] + pair[numbers[name]], None)
            for name, one in keys.items()
            if name != self.name
        }

    def masked(self, values: Vector, inbox: Mapping[str, bytes]) -> Vector:
        """The values under all masks, and a check sum at the end.

        Args:
            values: encoded by the ring.
            inbox: encrypted shares from the sites that go on.

        Raises:
            TrainingError: too few sites, or shares that were changed on the way.
        """
        if len(inbox) + 1 < self._threshold:
            raise TrainingError(f"{len(inbox) + 1} sites go on", where=_WHERE, expected=f"{self._threshold} or more")
        invalid = require("cryptography.exceptions", extra="federated").InvalidTag
        for name, box in inbox.items():
            try:
                text = self._cipher(self._keys[name], name, self.name).decrypt(bytes(12), box, None)
            except (KeyError, invalid) as error:
                raise TrainingError(f"the shares of {name!r} were changed", where=_WHERE) from error
            self._held[name] = text[:SHARE_BYTES], text[SHARE_BYTES:]
        total = np.append(values, values.sum(dtype=np.uint64))
        total = total + stream(self._own_seed, self._session, len(total))
        for name in inbox:
            seed = agree(self._mask, self._keys[name].mask, self._session)
            mask = stream(seed, self._session, len(total))
            total = total + mask if self.name < name else total - mask
        return total

    def open(self, stayed: Sequence[str], silent: Sequence[str]) -> Opened:
        """Shares that take the masks out of the sum.

        Raises:
            TrainingError: asked twice, asked for both shares of one site, or for too few sites.
        """
        if self._opened:
            raise TrainingError("asked to open the same sum twice", where=_WHERE)
        if set(stayed) & set(silent) or self.name not in stayed:
            raise TrainingError("asked for both shares of one site", where=_WHERE)
        if len(set(stayed)) < self._threshold or not {*stayed, *silent} <= self._held.keys():
            raise TrainingError(
                f"{len(set(stayed))} sites stayed", where=_WHERE, expected=f"at least {self._threshold}"
            )
        self._opened = True
        return Opened({n: self._held[n][0] for n in stayed}, {n: self._held[n][1] for n in silent})

    def _cipher(self, theirs: PublicKeys, sender: str, receiver: str) -> Any:
        aead = require("cryptography.hazmat.primitives.ciphers.aead", extra="federated")
        if theirs.box not in self._boxes:  # what two sites have in common serves both directions
            self._boxes[theirs.box] = _exchanged(self._box, theirs.box)
        # A key for each direction and session: the nonce is never used twice.
        key = _derived(self._boxes[theirs.box], self._session, f"{sender} {receiver}".encode())
        return aead.ChaCha20Poly1305(key)


def opened_sum(
    masked: Mapping[str, Vector],
    keys: Mapping[str, PublicKeys],
    answers: Mapping[str, Opened],
    threshold: int,
    session: bytes,
    *,
    numbered: Sequence[str] = (),
) -> Vector:
    """The server's part: the sum over the sites that stayed, without masks.

    Args:
        masked: what each site that stayed sent.
        keys: public keys of all sites whose shares were passed on.
        answers: shares from at least `threshold` sites.
        threshold: of the secret sharing.
        session: names the sum.
        numbered: all sites that were given keys, where some of them gave no shares.

    Raises:
        TrainingError: too few sites stayed, or the check sum is wrong.
    """
    if len(masked) < threshold or len(answers) < threshold:
        found = f"{min(len(masked), len(answers))} sites stayed"
        fix = "The round is repeated when more sites are back."
        raise TrainingError(found, where=_WHERE, expected=f"at least {threshold}", fix=fix)
    x25519 = require("cryptography.hazmat.primitives.asymmetric.x25519", extra="federated")
    numbers = _numbers(numbered or tuple(keys))
    length = len(next(iter(masked.values())))
    total = np.zeros(length, np.uint64)
    for vector in masked.values():
        total += vector
    for name in masked:
        seed = join({numbers[by]: answer.own[name] for by, answer in answers.items()}, threshold)
        total -= stream(seed, session, length)
    for gone in keys.keys() - masked.keys():
        secret = join({numbers[by]: answer.pair[gone] for by, answer in answers.items()}, threshold)
        private = x25519.X25519PrivateKey.from_private_bytes(secret)
        for name in masked:
            mask = stream(agree(private, keys[name].mask, session), session, length)
            total = total - mask if name < gone else total + mask
    if total[:-1].sum(dtype=np.uint64) != total[-1]:
        raise TrainingError("the check sum is wrong", where=_WHERE, fix="A site sent something else; repeat the round.")
    return total[:-1]


def agree(private: Any, public: bytes, session: bytes) -> bytes:
    """The seed of 32 bytes of the mask that two sites have in common."""
    return _derived(_exchanged(private, public), session, b"mask")


def stream(seed: bytes, session: bytes, length: int) -> Vector:
    """So many words of 64 bits that nobody without the seed can tell from chance."""
    ciphers = require("cryptography.hazmat.primitives.ciphers", extra="federated")
    cipher = ciphers.Cipher(ciphers.algorithms.ChaCha20(_derived(seed, session, b"stream"), bytes(16)), mode=None)
    return np.frombuffer(cipher.encryptor().update(bytes(8 * length)), np.uint64)


def _exchanged(private: Any, public: bytes) -> bytes:
    x25519 = require("cryptography.hazmat.primitives.asymmetric.x25519", extra="federated")
    return private.exchange(x25519.X25519PublicKey.from_public_bytes(public))


def _derived(secret: bytes, session: bytes, purpose: bytes) -> bytes:
    hashes = require("cryptography.hazmat.primitives.hashes", extra="federated")
    hkdf = require("cryptography.hazmat.primitives.kdf.hkdf", extra="federated")
    return hkdf.HKDF(algorithm=hashes.SHA256(), length=32, salt=session, info=purpose).derive(secret)


def _numbers(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(names), start=1)}


def _check_signature(name: str, keys: PublicKeys, roster: Mapping[str, bytes], session: bytes) -> None:
    ed25519 = require("cryptography.hazmat.primitives.asymmetric.ed25519", extra="federated")
    invalid = require("cryptography.exceptions", extra="federated").InvalidSignature
    if name not in roster:
        raise TrainingError(f"{name!r} is not on the roster of sites", where=_WHERE)
    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(roster[name])
        public.verify(keys.signature, session + keys.box + keys.mask)
    except invalid as error:
        raise TrainingError(f"the keys of {name!r} are not signed by that site", where=_WHERE) from error
