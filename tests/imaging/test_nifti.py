"""NIfTI: every one of the 48 axis orders and flips gives the same volume."""

from __future__ import annotations

import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from resight.errors import ImageError
from resight.imaging import VOI, describe, read, write_nifti

_FULL = VOI(mode="fixed", center=127.5, width=255)
_ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.fixture
def volume(rng):
    """`(D, H, W)`, D to superior, H to posterior, W to the left."""
    return rng.integers(0, 255, (4, 5, 6)).astype(np.int16)


def _canonical(volume: np.ndarray) -> nib.Nifti1Image:
    """`(i, j, k)` to left, posterior, superior."""
    affine = np.diag([-0.5, -0.75, 2.0, 1.0])
    affine[:3, 3] = [7, 8, 9]
    image = nib.Nifti1Image(volume.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    return image


@pytest.mark.parametrize(("order", "signs"), _ORIENTATIONS)
def test_48_orientations(tmp_path, volume, order, signs):
    turned = _canonical(volume).as_reoriented(np.array(list(zip(order, signs, strict=True))))
    nib.save(turned, tmp_path / "a.nii")
    image = read(tmp_path / "a.nii", voi=_FULL)
    np.testing.assert_allclose(image.pixels[0], volume / 255, atol=1e-6)
    np.testing.assert_allclose(image.spacing_mm, (2.0, 0.75, 0.5))
    axes = next(step.parameters["axes"] for step in image.history if step.name == "to LPS")
    write_nifti(tmp_path / "out" / "b.nii.gz", image.pixels[0], image.affine, axes=axes)
    written = nib.load(tmp_path / "out" / "b.nii.gz")
    np.testing.assert_allclose(written.get_fdata(), np.asarray(turned.dataobj) / 255, atol=1e-6)
    np.testing.assert_allclose(written.affine, turned.affine, atol=1e-6)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-7, -8, 9, 1], atol=1e-5)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">u2", "<i4", "<i8", "<u8", "<f4", ">f8"])
def test_every_type_and_byte_order(tmp_path, volume, kind, name, dtype):
    values = volume // 2
    plain = _canonical(values)
    header = kind.header_class.from_header(plain.header, check=False)
    header.set_data_dtype(np.dtype(dtype).newbyteorder("="))
    header = header.as_byteswapped(">" if dtype[0] == ">" else "<")
    image = kind(values.transpose(2, 1, 0).astype(dtype), plain.affine, header)
    nib.save(image, tmp_path / name)
    ours = read(tmp_path / name, voi=_FULL)
    assert ours.pixels.dtype == (np.uint8 if dtype in ("u1", "i1") else np.float32)
    np.testing.assert_allclose(ours.as_float()[0], values / 255, atol=2e-3)


def test_scaling_is_applied_before_the_window(tmp_path, volume):
    image = _canonical(volume)
    image.header.set_slope_inter(2.0, -10.0)
    image.to_filename(tmp_path / "a.nii")
    raw = nib.load(tmp_path / "a.nii")
    raw.header.set_slope_inter(1, 0)
    ours = read(tmp_path / "a.nii", voi=VOI(mode="percentile", percentiles=(0, 100)))
    theirs = nib.load(tmp_path / "a.nii").get_fdata().transpose(2, 1, 0)
    expected = (theirs - theirs.min()) / (theirs.max() - theirs.min())
    np.testing.assert_allclose(ours.pixels[0], expected, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_an_upright_picture(tmp_path, letter, axis):
    # rows run to the feet where the slice is sagittal or coronal, to the back where it is axial
    upright = letter if axis == 0 else letter[::-1]
    volume = np.expand_dims(upright.astype(np.int16), axis)
    nib.save(_canonical(volume), tmp_path / "a.nii")
    image = read(tmp_path / "a.nii", voi=_FULL)
    np.testing.assert_allclose(image.pixels[0], letter / 255, atol=1e-6)
    assert image.spacing_mm == tuple(mm for i, mm in enumerate((2.0, 0.75, 0.5)) if i != axis)


def test_rgb(tmp_path, rng):
    colours = rng.integers(0, 255, (6, 5, 4, 3)).astype(np.uint8)
    packed = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nib.save(nib.Nifti1Image(packed, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii").pixels, colours.transpose(3, 2, 1, 0))


def test_what_is_no_volume_is_refused(tmp_path, volume):
    path = tmp_path / "brain_017.nii.gz"
    image = _canonical(volume)
    image.to_filename(path)
    whole = gzip.decompress(path.read_bytes())

    def spoil(**fields):
        header = nib.Nifti1Header(whole[:348])
        for key, value in fields.items():
            header[key] = value
        path.write_bytes(gzip.compress(header.binaryblock + whole[348:]))
        with pytest.raises(ImageError) as raised:
            read(path)
        return str(raised.value).removeprefix(f"{path}: ")

    pixdim = [1, 0.5, 0.75, 0, 1, 1, 1, 1]
    assert spoil(pixdim=pixdim) == "spacing 0 mm on axis 2; expected > 0. Correct pixdim in the header."
    assert spoil(dim=[4, 6, 5, 2, 2, 1, 1, 1]).startswith("2 volumes; expected one")
    assert spoil(dim=[9, 6, 5, 2, 2, 1, 1, 1]).startswith("dimensions")
    assert spoil(dim=[3, 6, 5, -4, 1, 1, 1, 1]).startswith("dimensions")
    assert spoil(dim=[3, 32000, 32000, 32000, 1, 1, 1, 1]).startswith("the header promises")
    assert spoil(datatype=32, bitpix=64) == "complex voxels; expected real numbers"
    assert spoil(datatype=77).startswith("data type 77")
    assert spoil(srow_x=[0, 0, 0, 0]).startswith("the matrix from voxels to millimetres is singular")
    assert spoil(magic=b"ni1").startswith("the header of a .hdr/.img pair")
    path.write_bytes(gzip.compress(whole)[:-60])
    with pytest.raises(ImageError, match=r"truncated: \d+ bytes; expected 592"):
        read(path)


def test_a_header_without_orientation_is_noted(tmp_path, volume):
    image = nib.Nifti1Image(volume, None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    image.to_filename(tmp_path / "a.nii")
    assert "gives no orientation" in str(read(tmp_path / "a.nii").history[-1].parameters["text"])


def test_real_volumes_are_right_side_up(real_data):
    """The eyes of the ICBM head lie in front: low H; the crown is on top: high D is the smaller cross-section."""
    for name in ("spm152.nii.gz", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"):
        path = real_data("vol3d") / name
        image = read(path)
        theirs = nib.as_closest_canonical(nib.load(path))
        expected = theirs.get_fdata().transpose(2, 1, 0)[:, ::-1, ::-1]
        assert np.corrcoef(image.pixels[0].ravel()[::97], expected.ravel()[::97])[0, 1] > 0.999
        np.testing.assert_allclose(image.spacing_mm, theirs.header.get_zooms()[::-1], rtol=1e-4)
        assert describe(path)["encoding"] == "NIfTI-1 gzip"
