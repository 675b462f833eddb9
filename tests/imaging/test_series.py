"""Folders of slices: sorted by position, and refused with a reason when they are no volume."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from resight.errors import ImageError
from resight.imaging import VOI, list_images, read

_FULL = VOI(mode="fixed", center=127.5, width=255)


@pytest.fixture
def write_series(tmp_path, write_dicom, letter):
    """Write `count` axial slices, each with its number in the corner, under names that say nothing of the order."""

    def write(count=5, step=2.0, normal=1, **elements):
        folder = tmp_path / "series"
        folder.mkdir(exist_ok=True)
        for i in range(count):
            slice_ = letter.astype(np.int16)
            slice_[10, 0] = i * 10
            place = {
                "ImagePositionPatient": [-4, -5, i * step],
                "ImageOrientationPatient": [1, 0, 0, 0, normal, 0],
                "PixelSpacing": [1.5, 0.5],
                "Modality": "CT",
                "InstanceNumber": count - i,
            }
            write_dicom(folder / f"{(i * 3) % count}.dcm", slice_, **(place | elements))
        return folder

    return write


def test_slices_are_sorted_by_position(write_series, letter):
    image = read(write_series(), voi=_FULL)
    assert image.pixels.shape == (1, 5, 11, 8)
    np.testing.assert_allclose(image.pixels[0, :, 10, 0] * 255, [0, 10, 20, 30, 40], atol=1e-3)
    np.testing.assert_allclose(image.pixels[0, 2, :10], letter[:10] / 255, atol=1e-6)
    assert image.spacing_mm == (2.0, 1.5, 0.5)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], [-4 + 1.5, -5 + 3.0, 2, 1])


def test_slices_stored_upside_down_come_out_the_same(write_series, letter):
    image = read(write_series(normal=-1), voi=_FULL)
    np.testing.assert_allclose(image.pixels[0, 2, 1:], letter[:10][::-1] / 255, atol=1e-6)
    np.testing.assert_allclose(image.pixels[0, :, 0, 0] * 255, [0, 10, 20, 30, 40], atol=1e-3)


@pytest.mark.parametrize(
    ("cosines", "walk"),
    [
        ([0, 1, 0, 0, 0, -1], [1, 0, 0]),  # sagittal: columns run down
        ([1, 0, 0, 0, 0, -1], [0, 1, 0]),  # coronal
    ],
)
def test_every_plane_gives_the_same_volume(tmp_path, write_dicom, rng, cosines, walk):
    volume = rng.integers(0, 255, (4, 5, 6)).astype(np.int16)  # D to superior, H to posterior, W to the left
    folder = tmp_path / "planes"
    folder.mkdir()
    for i in range(volume.shape[2 if walk[0] else 1]):
        plane = volume[::-1, :, i] if walk[0] else volume[::-1, i]
        position = [i * w for w in walk]
        position[2] = 3
        elements = {"ImagePositionPatient": position, "ImageOrientationPatient": cosines, "PixelSpacing": [1, 1]}
        write_dicom(folder / f"{9 - i}.dcm", np.ascontiguousarray(plane), Modality="CT", **elements)
    image = read(folder, voi=_FULL)
    np.testing.assert_allclose(image.pixels[0], volume / 255, atol=1e-6)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:3, 3], [0, 0, 0])


def test_a_lost_slice_is_told_by_its_place(write_series):
    folder = write_series()
    (folder / "4.dcm").unlink()  # the slice at 6 mm
    with pytest.raises(ImageError, match=r"4\.00 mm between slices 3 and 4 of 4; expected 2\.00 mm"):
        read(folder)


def test_mixtures_are_refused(write_series, write_dicom, letter):
    folder = write_series()
    place = {"ImagePositionPatient": [-4, -5, 10], "PixelSpacing": [1.5, 0.5], "Modality": "CT"}
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    values = letter.astype(np.int16)
    extra = folder / "x.dcm"
    for elements, pixels, message in (
        (place | axial | {"SeriesInstanceUID": "1.2.9"}, values, r"holds 2 series \(largest: 5, 1 files\)"),
        (place | {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, values, "different orientation"),
        (place | axial | {"PixelSpacing": [1, 1]}, values, "different pixel spacing"),
        (place | axial | {"ImagePositionPatient": [-4, -5, 4]}, values, "1 of 6 slices lie where another one lies"),
        (place | axial, values[:5], "differ in size"),
        ({"Modality": "CT"}, values, "without positions"),
    ):
        write_dicom(extra, np.ascontiguousarray(pixels), **elements)
        with pytest.raises(ImageError, match=message):
            read(folder)
    extra.write_bytes(b"")
    with pytest.raises(ImageError, match=r"x\.dcm"):
        read(folder)


def test_reports_and_text_beside_the_slices_do_not_matter(write_series, write_dicom, letter):
    folder = write_series()
    write_dicom(folder / "report", letter, Rows=None, Columns=None)
    (folder / "readme.txt").write_text("hello")
    (folder / "empty").touch()
    assert read(folder).pixels.shape == (1, 5, 11, 8)


def test_gantry_tilt_is_kept_in_the_matrix(tmp_path, write_dicom, letter):
    for i in range(3):
        place = {"ImagePositionPatient": [0, i * 0.5, i * 2], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        write_dicom(tmp_path / f"{i}.dcm", letter, PixelSpacing=[1, 1], **place)
    image = read(tmp_path)
    facts = next(step.parameters for step in image.history if step.name == "sort slices")
    assert facts["gantry_tilt_deg"] == pytest.approx(np.degrees(np.arctan(0.25)), abs=0.01)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [2, 0, 0, 1], [0, 1, 4, 1])


def _dicomdir(folder, names):
    directory = Dataset()
    directory.DirectoryRecordSequence = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        # names that break the rule of the type are common, and do not pass the writer's validation
        record.add(DataElement("ReferencedFileID", "CS", name, validation_mode=IGNORE))
        directory.DirectoryRecordSequence.append(record)
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    directory.save_as(folder / "DICOMDIR", implicit_vr=False, little_endian=True)


def test_dicomdir(write_series):
    folder = write_series()
    _dicomdir(folder.parent, [["series", f"{i}.dcm"] for i in range(5)])
    assert read(folder.parent).pixels.shape == (1, 5, 11, 8)
    _dicomdir(folder.parent, [["series", "9.dcm"]])
    with pytest.raises(ImageError, match="a file that the DICOMDIR lists is missing"):
        read(folder.parent)
    _dicomdir(folder.parent, [["..", "..", "etc"]])
    with pytest.raises(ImageError, match="outside its folder"):
        read(folder.parent)


def test_list_images_takes_a_series_as_one(write_series, write_dicom, letter, tmp_path):
    folder = write_series()
    (folder / "notes.txt").write_text("hello")
    for name, uid in product("ab", "12"):
        (tmp_path / "mixed").mkdir(exist_ok=True)
        write_dicom(tmp_path / "mixed" / f"{name}{uid}", letter, SeriesInstanceUID=f"1.{uid}")
    (tmp_path / ".hidden").mkdir()
    write_dicom(tmp_path / ".hidden" / "a.dcm", letter)
    assert list_images(tmp_path) == [*(tmp_path / "mixed" / name for name in ("a1", "a2", "b1", "b2")), folder]


def test_pictures_without_a_place_are_no_series(write_dicom, letter, tmp_path):
    for name in "ab":
        write_dicom(tmp_path / f"{name}.dcm", letter, SeriesInstanceUID="1.2.3")
    assert list_images(tmp_path) == [tmp_path / "a.dcm", tmp_path / "b.dcm"]


def test_slices_of_two_series_are_images_of_their_own(write_series, write_dicom, letter):
    folder = write_series(count=2)
    place = {"ImagePositionPatient": [-4, -5, 9], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    write_dicom(folder / "other.dcm", letter, SeriesInstanceUID="1.9", **place)
    assert len(list_images(folder)) == 3
