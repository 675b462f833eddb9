"""The door: content over names, header facts without pixels, and what a folder holds."""

from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from resight.errors import ImageError
from resight.imaging import describe, list_images, read


def test_content_decides_and_a_wrong_name_is_noted(tmp_path, letter, write_dicom):
    PIL.Image.fromarray(letter).save(tmp_path / "a.jpg", format="PNG")
    (tmp_path / "a.jpg").rename(tmp_path / "a.dcm")
    write_dicom(tmp_path / "b.png", letter)
    write_dicom(tmp_path / "c", letter)
    for name, noted in (("a.dcm", True), ("b.png", True), ("c", False)):
        image = read(tmp_path / name)
        np.testing.assert_array_equal(image.pixels[0], letter)
        assert image.source_id == str(tmp_path / name)
        assert any("extension says otherwise" in str(s.parameters.get("text")) for s in image.history) == noted


def test_dicom_with_a_tiff_preamble_is_dicom(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter)
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert read(path).history[0].parameters["format"] == "DICOM"


@pytest.mark.parametrize("content", [b"", b"\0", b"hello", b"BM", b"\xff\xd8\xff", b"\x1f\x8b", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    for function in (read, describe):
        with pytest.raises(ImageError):
            function(tmp_path / "x.png")
    for missing in ("none.png", "folder"):
        with pytest.raises(ImageError, match="no such file"):
            read(tmp_path / missing)
    with pytest.raises(ImageError, match="holds no DICOM image"):
        read(tmp_path)


def test_describe(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter, Modality="DX", PixelSpacing=[0.5, 0.25], ViewPosition="PA")
    facts = describe(path)
    assert (
        facts.items()
        >= {
            "format": "dicom",
            "bytes": path.stat().st_size,
            "width": 8,
            "height": 11,
            "bits": 8,
            "modality": "DX",
            "colour_mode": "MONOCHROME2",
            "encoding": "Explicit VR Little Endian",
            "row_spacing_mm": 0.5,
            "view_position": "PA",
        }.items()
    )
    PIL.Image.fromarray(letter).convert("RGB").save(tmp_path / "a.jpg")
    assert describe(tmp_path / "a.jpg").items() >= {"colour_mode": "RGB", "encoding": "JPEG", "width": 8}.items()
    assert describe(tmp_path)["files"] == 1


def test_list_images(tmp_path, letter, write_dicom):
    for name in ("b/2.png", "b/1.png", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(letter).save(tmp_path / name, format="PNG")
    (tmp_path / "labels.csv").write_text("image,label\n")
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(b"image,label\n"))
    write_dicom(tmp_path / "DICOMDIR", letter)
    assert list_images(tmp_path) == [tmp_path / "a.txt", tmp_path / "b" / "1.png", tmp_path / "b" / "2.png"]
    broken = [tmp_path / name for name in ("c.nii.gz", "d.DCM", "e.png", "f.webp")]
    broken[0].touch()
    for path in broken[1:]:
        path.write_text("no image")
    assert list_images(tmp_path)[3:] == broken  # each becomes a row with its error, not a gap
    with pytest.raises(ImageError, match="no such folder"):
        list_images(tmp_path / "none")


def test_torch_is_not_imported():
    code = "import resight.imaging, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
