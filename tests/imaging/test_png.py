"""Pixels of a PNG inflated beforehand: the same picture, and whatever is unusual left as it is."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from resight.errors import ImageError
from resight.imaging import png, read

pytest.importorskip("isal.isal_zlib")


def written(image: PIL.Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def picture(mode: str, rng: np.random.Generator) -> PIL.Image.Image:
    smooth = np.cumsum(rng.integers(-2, 3, (67, 45, 4)), axis=1) % 256
    colours = PIL.Image.fromarray(smooth.astype(np.uint8), "RGBA")
    if mode == "I;16":
        return PIL.Image.fromarray((smooth[..., 0] * 200).astype(np.uint16))
    return colours.convert("RGB").quantize(32) if mode == "P" else colours.convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_same_pixels_without_the_compression(mode: str, rng: np.random.Generator) -> None:
    data = written(picture(mode, rng))
    stored = png.inflated(data)
    assert stored != data
    for opened in (PIL.Image.open(io.BytesIO(stored)), PIL.Image.open(io.BytesIO(data))):
        opened.load()
    flags = cv2.IMREAD_UNCHANGED
    one, other = (cv2.imdecode(np.frombuffer(each, np.uint8), flags) for each in (data, stored))
    np.testing.assert_array_equal(one, other)
    assert png.inflated(stored) == stored  # stored anew, it is the same file


def test_several_pieces_and_what_stands_behind_them(rng: np.random.Generator) -> None:
    data = written(picture("L", rng), compress_level=1)
    (place,) = (place for kind, place in png._chunks(data) if kind == b"IDAT")
    content, note = data[place], chunk(b"tEXt", b"Comment\0why")
    before, behind = data[: place.start - 8], data[place.stop + 4 :]
    pieces = chunk(b"IDAT", content[:100]) + chunk(b"IDAT", content[100:])
    stored = png.inflated(before + pieces + note + behind)
    assert [kind for kind, _ in png._chunks(stored)] == [b"IHDR", b"IDAT", b"tEXt", b"IEND"]
    assert png.has_chunk(stored, b"tEXt")
    assert not png.has_chunk(stored, b"eXIf")
    apart = before + chunk(b"IDAT", content[:100]) + note + chunk(b"IDAT", content[100:]) + behind
    assert png.inflated(apart) is apart


@pytest.mark.parametrize("damage", ["pixel", "checksum", "end", "height", "interlaced", "colour", "header"])
def test_what_is_damaged_or_unusual_is_left_to_the_decoder(damage: str, rng: np.random.Generator) -> None:
    data = bytearray(written(picture("L", rng)))
    place = next(place for kind, place in png._chunks(bytes(data)) if kind == b"IDAT")
    if damage == "pixel":
        data[place.start + 40] ^= 1
    elif damage == "checksum":
        data[place.stop] ^= 1
    elif damage == "end":
        del data[place.stop - 20 :]
    elif damage == "header":
        del data[30:]
    else:
        data[{"height": 23, "interlaced": 28, "colour": 25}[damage]] += 1
    assert png.inflated(bytes(data)) == bytes(data)


def test_a_flipped_bit_is_still_an_error(tmp_path: Path, rng: np.random.Generator) -> None:
    data = bytearray(written(picture("L", rng)))
    place = next(place for kind, place in png._chunks(bytes(data)) if kind == b"IDAT")
    data[place.start + 40] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match="damaged or truncated"):
        read(tmp_path / "a.png")


def test_without_the_library_the_decoder_inflates(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(picture("RGB", rng))
    (tmp_path / "a.png").write_bytes(data)
    fast = read(tmp_path / "a.png")
    monkeypatch.setattr(png, "isal_zlib", None)
    assert png.inflated(data) is data
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, fast.pixels)
