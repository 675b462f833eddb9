"""PNG, JPEG, TIFF and BMP: upright, right polarity, in every mode a scanner or a spreadsheet user saves."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from resight.errors import ImageError
from resight.imaging import VOI, describe, read, sniff

_FULL = VOI(mode="fixed", center=127.5, width=255)
# What is stored so that a viewer who obeys EXIF orientation shows the picture
_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}


def _save(path: Path, array: np.ndarray, mode: str = "", **options) -> Path:
    picture = PIL.Image.fromarray(np.ascontiguousarray(array))
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.fixture
def big(letter):
    """The letter, large enough for JPEG's blocks."""
    return np.kron(letter, np.ones((16, 16), np.uint8))


@pytest.mark.parametrize("extension", ["png", "bmp", "tif"])
@pytest.mark.parametrize("kind", ["grey", "rgb", "palette", "1"])
def test_lossless_formats_keep_the_picture(tmp_path, letter, extension, kind):
    path = tmp_path / f"a.{extension}"
    expected = letter[np.newaxis]
    if kind == "grey":
        _save(path, letter)
    elif kind == "rgb":
        colours = np.stack([letter, letter // 2, letter[::-1]], axis=-1)
        expected = np.moveaxis(_array(_save(path, colours)), -1, 0)
        np.testing.assert_array_equal(expected, np.moveaxis(colours, -1, 0))
    elif kind == "palette":
        palette = PIL.Image.fromarray(letter).convert("P")
        palette.putpalette([v for i in range(256) for v in (i, 255 - i, 7)])
        palette.save(path)
        expected = np.stack([letter, 255 - letter, np.full_like(letter, 7)])
    else:
        expected = np.where(letter > 100, 255, 0).astype(np.uint8)[np.newaxis]
        PIL.Image.fromarray(expected[0]).convert("1").save(path)
    image = read(path)
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, expected)


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bits(tmp_path, letter, extension):
    path = _save(tmp_path / f"a.{extension}", letter.astype(np.uint16) * 16)
    assert describe(path)["bits"] == 16
    image = read(path, voi=VOI(mode="percentile", percentiles=(0, 100)))
    np.testing.assert_allclose(image.pixels[0], letter / 255, atol=1e-6)
    assert read(path).history[2].parameters["mode"] == "percentile"
    colours = np.stack([letter, letter // 2, letter[::-1]], axis=-1).astype(np.uint16) * 257
    cv2.imwrite(str(path), colours[..., ::-1])
    np.testing.assert_allclose(read(path).pixels, np.moveaxis(colours, -1, 0) / 65535, atol=1e-6)


@pytest.mark.parametrize("orientation", list(_STORED))
@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_exif_orientation(tmp_path, big, orientation, extension):
    path = tmp_path / f"a.{extension}"
    stored = _STORED[orientation](big)
    if extension == "tif":
        _save(path, stored, tiffinfo={274: orientation})
    else:
        exif = PIL.Image.Exif()
        exif[274] = orientation
        _save(path, stored, exif=exif, **({"quality": 95} if extension == "jpg" else {}))
    for at_least_px in (None, 40):
        image = read(path, at_least_px=at_least_px)
        shown = cv2.resize(image.pixels[0], big.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.corrcoef(shown.ravel(), big.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_where_0_is_white(tmp_path, letter, bits):
    """PhotometricInterpretation 0 (TIFF 6.0, section 4): Pillow cannot write it, so one tag is changed by hand."""
    stored = (255 - letter).astype(f"u{bits // 8}")
    path = _save(tmp_path / "a.tif", stored)
    tag = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert tag in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(tag, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
    image = read(path, voi=VOI(mode="percentile", percentiles=(0, 100)))
    np.testing.assert_allclose(image.as_float()[0], letter / 255, atol=1e-6)


@pytest.mark.parametrize("extension", ["png", "tif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_goes_on_black_and_is_noted(tmp_path, letter, extension, mode):
    alpha = np.full_like(letter, 255)
    alpha[:4] = 128
    bands = [letter] if mode == "LA" else [letter, letter // 2, letter[::-1]]
    PIL.Image.merge(mode, [PIL.Image.fromarray(np.ascontiguousarray(b)) for b in [*bands, alpha]]).save(
        tmp_path / f"a.{extension}"
    )
    image = read(tmp_path / f"a.{extension}")
    expected = np.stack([np.rint(band * (alpha / 255)) for band in bands])
    np.testing.assert_array_equal(image.pixels, expected)
    step = next(step for step in image.history if step.name == "alpha composited on black")
    assert step.parameters["share_not_opaque"] == pytest.approx(4 / 11, abs=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_tiff_of_numbers(tmp_path, letter, dtype):
    path = _save(tmp_path / "a.tif", letter.astype(dtype) * 10)
    image = read(path, voi=VOI(mode="percentile", percentiles=(0, 100)))
    np.testing.assert_allclose(image.pixels[0], letter / 255, atol=1e-6)


def test_grey_and_cmyk_jpeg(tmp_path, big):
    assert read(_save(tmp_path / "a.jpg", big, quality=95)).pixels.shape == (1, *big.shape)
    image = read(_save(tmp_path / "b.jpg", np.stack([big] * 3, -1), "CMYK", quality=95))
    assert image.pixels.shape == (3, *big.shape)
    assert np.corrcoef(image.pixels[0].ravel(), big.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(("at_least_px", "factor"), [(None, 1), (129, 1), (128, 1), (64, 2), (33, 2), (32, 4), (16, 8)])
def test_jpeg_is_decoded_no_smaller_than_asked(tmp_path, big, at_least_px, factor):
    image = read(_save(tmp_path / "a.jpg", big), at_least_px=at_least_px)
    assert image.pixels.shape == (1, 176 // factor, 128 // factor)
    assert image.history[0].parameters["reduced"] == factor
    assert image.attributes["width"] == 128


def test_palette_and_grey_may_be_windowed(tmp_path, letter):
    image = read(_save(tmp_path / "a.png", letter), voi=VOI(mode="fixed", center=100, width=100))
    np.testing.assert_array_equal(image.pixels[0], np.rint(np.clip((letter - 100.0) / 100 + 0.5, 0, 1) * 255))


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "bmp"])
def test_truncated_and_damaged(tmp_path, big, extension, rng):
    noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = _save(tmp_path / f"a.{extension}", noise).read_bytes()
    for share in (0.03, 0.3, 0.6, 0.95):
        path = tmp_path / f"cut.{extension}"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError) as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_several_pages_and_huge_pictures_are_refused(tmp_path, letter, monkeypatch):
    page = PIL.Image.fromarray(letter)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(ImageError, match="2 pages; expected one picture"):
        read(tmp_path / "a.tif")
    monkeypatch.setattr(sniff, "MAX_VALUES", 100)
    with pytest.raises(ImageError, match="promises 352 pixel values; expected at most 100"):
        read(_save(tmp_path / "a.png", letter))


def test_a_png_that_promises_more_than_memory_is_refused(tmp_path, letter):
    path = _save(tmp_path / "a.png", letter)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60000, 60000)
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"too many pixels|promises"):
        read(path)


def test_real_pictures(real_data):
    for folder, shape in (("derm_isic2017", 3), ("cxr_nih14_1000", 3), ("brain_mri_tumour_nickparvar", None)):
        for path in sorted((real_data(folder) / "images").iterdir())[:20]:
            image = read(path)
            assert shape in (None, image.pixels.shape[0])
            theirs = np.atleast_3d(_array(path)).transpose(2, 0, 1)[:3].astype(int)
            assert np.abs(image.pixels.astype(int) - theirs).max() <= 3


def _array(path: Path) -> np.ndarray:
    with PIL.Image.open(BytesIO(path.read_bytes())) as opened:
        return np.asarray(opened)
