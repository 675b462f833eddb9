"""Every file of a varied collection and of pydicom's own: read, or refused with one line; never another exception."""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from resight.errors import ImageError
from resight.imaging import VOI, describe, read
from resight.types import Image

_BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def _files(root: Path) -> Iterator[Path]:
    yield from sorted(path for path in root.rglob("*") if path.is_file() and "SE000000" not in path.parts)


def _try(path: Path) -> Image | str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = read(path)
        except ImageError as error:
            line = str(error)
            return line if "\n" not in line else pytest.fail(f"{path.name}: several lines")
        assert describe(path)["width"] > 0
    assert image.pixels.dtype in (np.uint8, np.float32)
    assert image.pixels.shape[0] in (1, 3)
    assert image.pixels.ndim == len(image.spacing_mm) + 1
    assert np.isfinite(image.pixels).all()
    assert image.pixels.max() <= (255 if image.pixels.dtype == np.uint8 else 1)
    return image


def test_dicom_variety(real_data):
    root = real_data("dicom_variety")
    with (root / "index.csv").open() as stream:
        promised = {row["file"] for row in csv.DictReader(stream) if row["decodes"] == "yes"}
    refused = {str(p.relative_to(root)): r for p in _files(root) if isinstance(r := _try(p), str)}
    refused = {name: line for name, line in refused.items() if name.endswith(".dcm")}
    assert not promised & set(refused)
    assert set(refused) == {
        "pydicom_data/emri_small_jpeg_2k_lossless_too_short.dcm",  # cut after the header
        "pydicom_data/liver_nonbyte_aligned_rle.dcm",  # RLE of single bits: no decoder
        "pydicom_data/liver_rle.dcm",
    }


def test_pydicoms_own_files():
    refused = {p.name: r for p in _files(_BUNDLED) if isinstance(r := _try(p), str)}
    pictures = {name for name in refused if name.endswith(".dcm") and "rows and columns" not in refused[name]}
    twelve_bit_jpeg = set() if shutil.which("dcmdjpeg") else {"JPEG-lossy.dcm", "JPGExtended.dcm"}
    assert pictures == twelve_bit_jpeg | {
        "DICOMDIR-empty.dcm",
        "JPEG2000-embedded-sequence-delimiter.dcm",  # damaged on purpose
        "MR_truncated.dcm",
        "badVR.dcm",
        "no_meta.dcm",  # its first byte is missing
    }
    assert "RT Plan Storage" in refused["rtplan.dcm"]
    assert "truncated: 8130 bytes of pixel data; expected 8192" in refused["MR_truncated.dcm"]


def test_the_chain_equals_pydicoms(real_data):
    """Same grey as `apply_modality_lut` and `apply_voi_lut`, within one level of 255, in all files with a window."""
    compared = 0
    for path in [*_files(real_data("dicom_variety")), *_files(_BUNDLED)]:
        try:
            image = read(path, voi=VOI(mode="voi"))
        except ImageError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, of files that are broken on purpose
            compared += _is_equal(path, image)
    assert compared >= 40


def _is_equal(path: Path, image: Image) -> bool:
    """Whether the file can be compared; fails where it is not equal."""
    dataset = pydicom.dcmread(path, force=True)
    has_voi = bool(dataset.get("WindowWidth")) or "VOILUTSequence" in dataset
    turned = any(step.name == "upright" for step in image.history)
    others = ("PerFrameFunctionalGroupsSequence", "PixelPaddingValue", "ModalityLUTSequence", "NumberOfFrames")
    if not has_voi or turned or image.pixels.shape[0] == 3 or any(keyword in dataset for keyword in others):
        return False
    theirs = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(float)
    grey = (theirs - _lowest(dataset)) / (_highest(dataset) - _lowest(dataset))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    assert np.abs(image.as_float()[0] - np.clip(grey, 0, 1)).max() <= 1 / 255 + 1e-6, path.name
    return True


def _lowest(dataset: pydicom.Dataset) -> float:
    """Output range that pydicom maps a window onto: that of the rescaled stored values."""
    if "VOILUTSequence" in dataset:
        return 0.0
    slope, offset = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return (-(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0) * slope + offset


def _highest(dataset: pydicom.Dataset) -> float:
    if "VOILUTSequence" in dataset:
        return 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    slope, offset = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return (2 ** (dataset.BitsStored - dataset.PixelRepresentation) - 1) * slope + offset


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.5, 0.9, 0.99])
def test_cut_files_are_read_or_refused(tmp_path, share):
    for source in (*_BUNDLED.glob("MR_small*.dcm"), *_BUNDLED.glob("*_jpeg_gdcm.dcm"), _BUNDLED / "image_dfl.dcm"):
        cut = tmp_path / source.name
        data = source.read_bytes()
        cut.write_bytes(data[: int(len(data) * share)])
        _try(cut)
