"""Volumes that cannot be used: one clear line each, and the door names the file."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from resight.cohorts import VolumePhantomOptions, write_volume_phantom
from resight.errors import ImageError
from resight.imaging import read
from resight.preprocess import Recipe


def _nifti(path: Path, affine: np.ndarray, shape: tuple[int, int, int] = (6, 7, 8)) -> Path:
    image = nib.Nifti1Image(np.zeros(shape, np.int16), affine)
    nib.save(image, path)
    return path


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    options = VolumePhantomOptions(volumes=1, format="dicom", in_plane_mm=(8.0, 8.0), slice_mm=(8.0,))
    write_volume_phantom(options, tmp_path)
    return sorted((tmp_path / "images" / "000000").iterdir())


def _edit(path: Path, **values: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_a_sheared_matrix_is_named(tmp_path: Path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[0, 1] = 0.5
    path = _nifti(tmp_path / "a.nii", affine)
    with pytest.raises(ImageError, match=r"a\.nii: axes 76\.0 degrees apart; expected 90\. Resample the volume"):
        read(path)
    affine[0, 1] = 0.01
    assert read(_nifti(tmp_path / "b.nii", affine)).pixels.shape == (1, 8, 7, 6)


@pytest.mark.parametrize("spacing", [0.0, -2.0, float("nan")])
def test_a_spacing_that_is_none_is_named(tmp_path: Path, spacing: float) -> None:
    path = _nifti(tmp_path / "a.nii", np.diag([2.0, 2.0, 2.0, 1.0]))
    content = bytearray(path.read_bytes())
    content[88:92] = np.float32(spacing).tobytes()  # pixdim[3]
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.nii: spacing .* mm on axis 2; expected > 0"):
        read(path)


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii", np.eye(4), (6, 7, 1))
    with pytest.raises(ImageError, match=r"a\.nii: one slice: the image has 2 spatial axes \(7x6\); expected 3"):
        Recipe(size_px=(8, 8, 8)).prepare(path)


def test_row_and_column_cosines_are_at_right_angles(series: list[Path]) -> None:
    for path in series:
        _edit(path, ImageOrientationPatient=[1, 0, 0, 0.5, 0.866025, 0])
    with pytest.raises(ImageError, match=r"rows and columns 60\.0 degrees apart; expected 90\. Correct"):
        read(series[0].parent)


def test_mixed_series_are_named(series: list[Path]) -> None:
    _edit(series[3], SeriesInstanceUID="2.25.1")
    with pytest.raises(ImageError, match=r"holds 2 series .* expected one series"):
        read(series[0].parent)


def test_a_missing_slice_is_named(series: list[Path]) -> None:
    series[5].unlink()
    with pytest.raises(ImageError, match=r"16\.00 mm between slices 5 and 6 of 33; expected 8\.00 mm"):
        read(series[0].parent)


@pytest.mark.parametrize("spacing", [[0, 8], [8, -1]])
def test_a_pixel_spacing_that_is_none_is_named(series: list[Path], spacing: list[float]) -> None:
    for path in series:
        _edit(path, PixelSpacing=spacing)
    with pytest.raises(ImageError, match=r"spacing .* mm; expected > 0"):
        read(series[0].parent)


def test_slices_without_a_distance_are_named(series: list[Path]) -> None:
    _edit(series[1], ImagePositionPatient=pydicom.dcmread(series[0]).ImagePositionPatient)
    with pytest.raises(ImageError, match=r"1 of 34 slices lie where another one lies"):
        read(series[0].parent)
