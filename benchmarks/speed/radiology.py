"""Rows 8 to 10: DICOM and NIfTI."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import deflate
import nibabel as nib
import numpy as np
import pydicom
from isal import isal_zlib
from pydicom import uid
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from benchmarks.speed import inputs
from benchmarks.speed.measure import import_torchvision, one_thread, paired
from resight.imaging import read
from resight.imaging.decoders import decode
from resight.preprocess import Recipe

SIZE_PX = 224
REAL = Path(__file__).parents[3] / "shared" / "data" / "vol3d" / "spm152.nii.gz"


def main() -> None:
    one_thread()
    import_torchvision()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _plain(folder)
        _compressed(folder)
        _nifti(folder)


def _plain(folder: Path) -> None:
    path = inputs.dicom(folder / "plain.dcm", 2500, 2048)
    recipe = Recipe(size_px=(SIZE_PX, SIZE_PX), resize="stretch")

    def whole() -> np.ndarray:
        dataset = pydicom.dcmread(path)
        shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        return (shown / 4095 * 255).astype(np.float32)  # the window is mapped to the range of 12 bits

    def by_pydicom() -> np.ndarray:
        return cv2.resize(whole(), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)

    before = float(np.abs(read(path).pixels[0] * 255 - whole()).max())
    paired(
        "08",
        "DICOM 2500 x 2048 px, 12 bit, uncompressed, to 224 px",
        {"pydicom's LUT functions": by_pydicom, "Resight": lambda: recipe.prepare(path)},
        must=5.0,
        difference=float(np.quantile(np.abs(recipe.prepare(path)[0] - by_pydicom()), 0.99)),
        tolerance=1.0,
        unit="grey levels at the 99th percentile",
        libraries=("pydicom", "opencv-python-headless"),
        note=f"before it is made smaller the picture is the same to {before:.0e} grey levels",
    )


def _compressed(folder: Path) -> None:
    for letter, syntax, name, must in (
        ("", uid.RLELossless, "RLE", 1.0),
        ("b", uid.JPEGLSLossless, "JPEG-LS", 1.0),
    ):
        path = inputs.dicom(folder / f"{name}.dcm", 1024, 1024, syntax)

        def by_default(path: Path = path) -> np.ndarray:
            return pydicom.dcmread(path).pixel_array

        def chosen(path: Path = path) -> np.ndarray:
            return decode(pydicom.dcmread(path), path, []).values[0]

        paired(
            f"09{letter}",
            f"DICOM decoder, {name}, 1024 px",
            {"pydicom's default order": by_default, "Resight": chosen},
            must=must,
            difference=float(np.abs(by_default().astype(int) - chosen()).max()),
            tolerance=0.0,
            unit="stored values",
            libraries=("pydicom", "pylibjpeg-rle", "pyjpegls", "python-gdcm"),
            note="asked for is an explicit choice, never slower than the default order",
        )


def _nifti(folder: Path) -> None:
    drawn = inputs.volume(folder / "volume.nii.gz")
    _gzipped("10", "NIfTI, gzip, 256 x 256 x 128", drawn)
    if REAL.is_file():
        _gzipped("10b", "NIfTI, gzip, SPM's T1 template, 207 x 256 x 215", REAL)


def _gzipped(number: str, work: str, path: Path) -> None:
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, ScaleIntensityRange

    packed = path.read_bytes()
    size = len(isal_zlib.decompress(packed, 31))
    monai = Compose([LoadImage(image_only=True), EnsureChannelFirst()])
    all_of_it = Compose([monai, Orientation("LPS", labels=None), ScaleIntensityRange(-1000, 2000, 0, 1, clip=True)])
    ours, theirs = read(path).pixels[0], np.asarray(monai(path))[0]
    ours = ours / (255 if ours.dtype == np.uint8 else 1)  # bytes stay bytes
    # ours: (D H W) in LPS from 0 to 1; theirs: (i j k) as stored, its axes on the patient's by the affine
    onto_lps = nib.orientations.ornt_transform(
        nib.io_orientation(nib.load(path).affine), nib.orientations.axcodes2ornt("LPS")
    )
    stored = nib.orientations.apply_orientation(theirs, onto_lps).transpose(2, 1, 0).astype(np.float64)
    used = (ours > 0) & (ours < 1)
    slope, shift = np.polyfit(stored[used][::97], ours[used][::97], 1)
    paired(
        number,
        work,
        {
            "MONAI": lambda: monai(path),
            "Resight": lambda: read(path),
            "MONAI, turned to LPS and windowed too": lambda: all_of_it(path),
            "nibabel": lambda: nib.load(path).get_fdata(dtype=np.float32),
            "inflating alone, ISA-L": lambda: isal_zlib.decompressobj(31).decompress(packed, size),
            "inflating alone, libdeflate": lambda: deflate.gzip_decompress(packed, size),
        },
        must=5.0,
        difference=float(np.abs(slope * stored[used] + shift - ours[used]).max()),
        tolerance=1e-4,
        unit="of full scale, after the window's straight line",
        libraries=("monai", "nibabel", "isal", "deflate"),
        note="ours also windows to [0, 1] and turns to LPS; no reader can be faster than the inflating alone",
    )


if __name__ == "__main__":
    main()
