"""PNG files taken apart (ISO/IEC 15948): which chunks there are, and pixels inflated by ISA-L before they are decoded.

ISA-L inflates about twice as fast as the decoder's own library, which then only copies. Filters, palettes and bit
depths stay with the decoder.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

isal_zlib: Any = None  # the extra `fast` is not installed: the decoder inflates
with suppress(ImportError):
    from isal import isal_zlib

_SIGNATURE_BYTES = 8
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel by colour type (section 11.2.2)."""


def has_chunk(data: bytes, kind: bytes) -> bool:
    """Whether a PNG has a chunk of that kind."""
    return any(found == kind for found, _ in _chunks(data))


def inflated(data: bytes) -> bytes:
    """The same picture with pixels that are only stored, or the file as it is where anything about it is unusual.

    Whatever is damaged is left to the decoder, and to what it says about it.
    """
    if isal_zlib is None or len(data) < 33 or data[28]:  # interlaced: several pictures in one
        return data
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    bits = data[24] * _SAMPLES.get(data[25], 0)
    expected = height * (1 + -(-width * bits // 8))  # each row begins with the number of its filter
    places = [place for kind, place in _chunks(data) if kind == b"IDAT"]
    if not (places and bits and all(_is_whole(data, place) for place in places)):
        return data
    first, last = places[0].start - 8, places[-1].stop + 4
    if last - first != sum(place.stop - place.start + 12 for place in places):  # other chunks lie between
        return data
    try:
        member = isal_zlib.decompressobj()
        rows = member.decompress(b"".join(data[place] for place in places), expected + 1)
    except isal_zlib.error:
        return data
    if len(rows) != expected or not member.eof:
        return data
    stored = b"IDAT" + zlib.compress(rows, 0)
    length, checksum = len(stored) - 4, isal_zlib.crc32(stored)
    return b"".join((data[:first], length.to_bytes(4, "big"), stored, checksum.to_bytes(4, "big"), data[last:]))


def _chunks(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """Kind and place of the content: length, kind, content and checksum follow one another."""
    at = _SIGNATURE_BYTES
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], slice(at + 8, at + 8 + length)
        at += 12 + length


def _is_whole(data: bytes, place: slice) -> bool:
    checksum = data[place.stop : place.stop + 4]
    return int.from_bytes(checksum, "big") == isal_zlib.crc32(data[place.start - 4 : place.stop])
