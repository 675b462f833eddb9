"""Secret sharing (Shamir 1979): any `threshold` of the shares give the secret, fewer say nothing about it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from resight.errors import TrainingError

_PRIME: Final = 2**521 - 1
"""A Mersenne prime well above the 256 bits of a secret."""
SHARE_BYTES: Final = 66
_SECRET_BYTES: Final = 32


def split(secret: bytes, holders: Sequence[int], threshold: int) -> dict[int, bytes]:
    """Shares of a secret of 32 bytes.

    Args:
        secret: 32 bytes.
        holders: number of each holder, from 1, no two alike.
        threshold: how many shares give it back.
    """
    if len(secret) != _SECRET_BYTES or not 0 < threshold <= len(set(holders)) or min(holders) < 1:
        raise ValueError("32 bytes, and at least as many holders as the threshold, numbered from 1")
    coefficients = [int.from_bytes(secret), *(secrets.randbelow(_PRIME) for _ in range(threshold - 1))]
    return {holder: _at(coefficients, holder).to_bytes(SHARE_BYTES) for holder in holders}


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret of at least `threshold` shares.

    Raises:
        TrainingError: too few shares, or shares that do not belong together.
    """
    if len(shares) < threshold:
        found = f"{len(shares)} shares of a secret"
        raise TrainingError(found, where="secure aggregation", expected=f"at least {threshold}")
    points = {holder: int.from_bytes(share) for holder, share in list(shares.items())[:threshold]}
    weights = _weights(tuple(points))
    total = sum(share * weight for share, weight in zip(points.values(), weights, strict=True)) % _PRIME
    if total >= 256**_SECRET_BYTES:
        raise TrainingError("shares of different secrets", where="secure aggregation", fix="Repeat the round.")
    return total.to_bytes(_SECRET_BYTES)


@lru_cache(maxsize=16)
def _weights(holders: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's coefficients at 0; a server opens one secret a site with the shares of the same holders."""
    found: list[int] = []
    for i in holders:
        above, below = 1, 1
        for j in holders:
            if j != i:
                above, below = above * j % _PRIME, below * (j - i) % _PRIME
        found.append(above * pow(below, -1, _PRIME) % _PRIME)
    return tuple(found)


def _at(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % _PRIME
    return value
