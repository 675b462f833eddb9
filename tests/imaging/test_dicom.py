"""DICOM files: orientation, polarity, hostile content, and nothing personal in what is said about them."""

from __future__ import annotations

import zlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from resight.errors import ImageError
from resight.imaging import VOI, describe, dicom_file, read, sniff


def test_letter_is_upright_and_row_major(tmp_path, letter, write_dicom):
    image = read(write_dicom(tmp_path / "a.dcm", letter, PixelSpacing=[0.5, 0.25]))
    np.testing.assert_array_equal(image.pixels, letter[np.newaxis])
    assert image.pixels.dtype == np.uint8
    assert image.spacing_mm == (0.5, 0.25)
    assert [step.name for step in image.history] == ["read", "modality", "voi", "presentation"]


def test_monochrome1_gives_the_same_picture(tmp_path, letter, write_dicom):
    negative = write_dicom(tmp_path / "1.dcm", 255 - letter, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read(negative).pixels, letter[np.newaxis])
    twelve = letter.astype(np.uint16) * 16
    window = {"BitsStored": 12, "HighBit": 11, "Modality": "DX", "WindowCenter": 2048, "WindowWidth": 4096}
    plain = read(write_dicom(tmp_path / "2.dcm", twelve, **window))
    inverse = read(write_dicom(tmp_path / "3.dcm", 4095 - twelve, PhotometricInterpretation="MONOCHROME1", **window))
    np.testing.assert_allclose(inverse.pixels, plain.pixels, atol=1e-6)
    assert plain.pixels.max() > plain.pixels.min()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("signed", [False, True])
def test_every_byte_order_and_sign(tmp_path, letter, write_dicom, syntax, signed):
    values = letter.astype(np.int16 if signed else np.uint16) * 3 - (300 if signed else 0)
    stored = values.astype(values.dtype.newbyteorder(">")) if syntax == ExplicitVRBigEndian else values
    path = write_dicom(tmp_path / "a.dcm", stored, syntax=syntax, PixelRepresentation=int(signed))
    image = read(path, voi=VOI(mode="percentile", percentiles=(0, 100)))
    np.testing.assert_allclose(image.pixels[0], letter / 255, atol=1e-6)


def test_bits_above_those_stored_do_not_count(tmp_path, letter, write_dicom):
    overlay = letter.astype(np.uint16) | 0xF000
    image = read(write_dicom(tmp_path / "a.dcm", overlay, BitsStored=8, HighBit=7))
    np.testing.assert_allclose(image.pixels[0], letter / 255, atol=1e-6)


def test_rle(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter.astype(np.uint16))
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path)
    image = read(path, voi=VOI(mode="fixed", center=127.5, width=255))
    np.testing.assert_allclose(image.pixels[0], letter / 255, atol=1e-6)
    assert image.history[0].parameters["decoder"] == "pylibjpeg"


def test_colour_stays_8_bit_and_channels_come_first(tmp_path, letter, write_dicom):
    colour = np.stack([letter, letter // 2, letter[::-1]], axis=-1)
    image = read(write_dicom(tmp_path / "a.dcm", colour))
    np.testing.assert_array_equal(image.pixels, np.moveaxis(colour, -1, 0))


# What a frontal radiograph looks like in the file when rows and columns run in these directions (first: as displayed)
_STORED = {
    ("L", "F"): lambda a: a,
    ("R", "F"): lambda a: a[:, ::-1],
    ("L", "H"): lambda a: a[::-1],
    ("R", "H"): lambda a: a[::-1, ::-1],
    ("F", "L"): lambda a: a.T,
    ("H", "L"): lambda a: a.T[:, ::-1],
    ("F", "R"): lambda a: a.T[::-1],
    ("H", "R"): lambda a: a.T[::-1, ::-1],
}


@pytest.mark.parametrize("letters", list(_STORED))
def test_radiographs_are_turned_as_patient_orientation_says(tmp_path, letter, write_dicom, letters):
    stored = np.ascontiguousarray(_STORED[letters](letter))
    spacing = [0.5, 0.25] if letters[1] in "FH" else [0.25, 0.5]
    elements = {"Modality": "DX", "BodyPartExamined": "CHEST", "PixelSpacing": spacing}
    image = read(write_dicom(tmp_path / "a.dcm", stored, PatientOrientation=list(letters), **elements))
    np.testing.assert_array_equal(image.pixels[0], letter)
    assert image.spacing_mm == (0.5, 0.25)
    assert ("upright" in [s.name for s in image.history]) == (letters != ("L", "F"))


def test_lateral_and_limb_are_turned_but_never_mirrored(tmp_path, letter, write_dicom):
    for name, orientation, stored in (
        ("lateral", ["A", "H"], letter[::-1, ::-1]),
        ("side", ["F", "P"], np.rot90(letter)),
        ("hand", ["R", "F"], letter),
    ):
        part = "HAND" if name == "hand" else "CHEST"
        elements = {"Modality": "DX", "BodyPartExamined": part, "PatientOrientation": orientation}
        image = read(write_dicom(tmp_path / name, np.ascontiguousarray(stored), **elements))
        np.testing.assert_array_equal(image.pixels[0], letter, err_msg=name)


def test_padding_is_black_and_does_not_move_the_percentiles(tmp_path, letter, write_dicom):
    values = letter.astype(np.int16)
    values[0] = -2000
    path = write_dicom(tmp_path / "a.dcm", values, Modality="CR", PixelPaddingValue=-2000)
    image = read(path, voi=VOI(mode="percentile", percentiles=(0, 100)))
    np.testing.assert_allclose(image.pixels[0, 1:], letter[1:] / 255, atol=1e-6)
    assert (image.pixels[0, 0] == 0).all()


def test_nothing_personal_is_said(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter, BodyPartExamined="DOEXJANE", ViewPosition="PA", StationName="JANE")
    path.write_bytes(path.read_bytes().replace(b"DOEXJANE", b"Doe^Jane"))
    for text in (repr(read(path)), repr(describe(path))):
        assert "Doe" not in text
        assert "4711" not in text
        assert "JANE" not in text
    assert "'view_position': 'PA'" in repr(describe(path))
    broken = path.read_bytes().replace(b"US\x02\x00\x0b\x00", b"US\x02\x00\x00\x00")
    path.write_bytes(broken)
    with pytest.raises(ImageError) as raised:
        read(path)
    assert "Doe" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_warnings_become_notes(tmp_path, letter, write_dicom):
    image = read(write_dicom(tmp_path / "a.dcm", letter, PixelData=letter.tobytes() + b"\0" * 10))
    notes = [step.parameters["text"] for step in image.history if step.name == "note"]
    assert notes == ["the pixel data are longer than the header says; the rest is left out"]


def test_reports_and_empty_datasets_are_refused_in_one_line(tmp_path, letter, write_dicom):
    sr = write_dicom(tmp_path / "sr.dcm", letter, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Rows=None, Columns=None)
    with pytest.raises(ImageError, match="Basic Text SR Storage without rows and columns; expected a DICOM image"):
        read(sr)
    (tmp_path / "empty.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(ImageError, match="no data elements"):
        read(tmp_path / "empty.dcm")


def test_truncated(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImageError, match=r"truncated: |cannot be"):
        read(path)


def test_huge_images_are_refused_before_decoding(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter, Rows=60000, Columns=60000)
    with pytest.raises(ImageError, match=f"promises 3600000000 pixel values; expected at most {sniff.MAX_VALUES}"):
        read(path)


def test_deflate_bomb_is_refused_while_inflating(tmp_path, letter, write_dicom, monkeypatch):
    monkeypatch.setattr(dicom_file, "MAX_INFLATED_BYTES", 2**20)
    path = write_dicom(tmp_path / "a.dcm", letter, syntax=DeflatedExplicitVRLittleEndian)
    assert read(path).pixels.shape == (1, 11, 8)
    head = path.read_bytes()[: 144 + int.from_bytes(path.read_bytes()[140:144], "little")]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(head + squeeze.compress(b"\0" * 2**22) + squeeze.flush())
    assert path.stat().st_size < 10_000
    with pytest.raises(ImageError, match="inflates to more than 1048576 bytes"):
        read(path)


def test_12_bit_jpeg_extended_names_the_program_it_needs(tmp_path, letter, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", letter.astype(np.uint16), BitsStored=12, HighBit=11)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="needs the program dcmdjpeg"):
        read(path)


def _enhanced(positions: list[float], slopes: list[float]) -> dict[str, object]:
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.5, 0.25]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    frames = []
    for z, slope in zip(positions, slopes, strict=True):
        frame, place, rescale = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [10, 20, z]
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, 0
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [rescale]
        frames.append(frame)
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}


def test_enhanced_frames_are_sorted_and_rescaled_one_by_one(tmp_path, letter, write_dicom):
    frames = np.stack([letter, letter // 2, letter // 4]).astype(np.uint16) * 4
    groups = _enhanced([6.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    image = read(
        write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=3, Modality="MR", **groups),
        voi=VOI(mode="percentile", percentiles=(0, 100)),
    )
    order = np.stack([frames[1] * 2, frames[2] * 4, frames[0]]).astype(float)
    np.testing.assert_allclose(image.pixels[0], order / order.max(), atol=1e-6)
    assert image.spacing_mm == (2.0, 0.5, 0.25)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [10, 20, 2, 1])


def test_frames_without_a_place_stay_in_stored_order(tmp_path, letter, write_dicom):
    frames = np.stack([letter, 255 - letter])
    image = read(write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2, Modality="US"))
    np.testing.assert_array_equal(image.pixels[0], frames)
    assert image.affine is None
    assert "no place in space" in str(image.history[-1].parameters["text"])


def test_a_file_without_meta_information_is_read(tmp_path, letter, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", letter)
    dataset = pydicom.dcmread(path)
    dataset.file_meta = FileMetaDataset()
    bare = tmp_path / "bare"
    pydicom.dcmwrite(bare, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(read(bare).pixels[0], letter)
