"""Files to read: drawn, with the noise of a detector, so that they compress as radiographs do; the same every time."""

from __future__ import annotations

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from resight.preprocess import Recipe, Store
from resight.training.data import TrainingData


def radiograph(height: int, width: int, seed: int = 0, full_scale: int = 255) -> np.ndarray:
    """Smooth structures and a little noise, `float32` from 0 to `full_scale`."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.random((12, 10), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.random((90, 80), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.standard_normal((height, width), dtype=np.float32)
    return np.clip((0.75 * smooth + 0.2 * fine + 0.006 * noise) * full_scale, 0, full_scale)


def png(folder: Path, count: int, size_px: int = 1024) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(count)]
    for index, path in enumerate(paths):
        cv2.imwrite(str(path), radiograph(size_px, size_px, index).astype(np.uint8))
    return paths


def jpeg(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        colour = np.stack([radiograph(767, 1022, 3 * index + c) for c in range(3)], axis=-1)
        cv2.imwrite(str(path), colour.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths


def dicom(path: Path, height: int, width: int, syntax: str | None = None) -> Path:
    """A 12-bit radiograph with a window, uncompressed or compressed by pydicom."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = height, width, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.WindowCenter, dataset.WindowWidth = 1900, 3000
    dataset.PixelData = radiograph(height, width, full_scale=4095).astype(np.uint16).tobytes()
    if syntax is not None:
        dataset.compress(syntax)
    dataset.save_as(path, enforce_file_format=True)
    return path


def volume(path: Path, shape: tuple[int, int, int] = (256, 256, 128)) -> Path:
    """A signed 16-bit volume, gzipped at the level that tools use."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(-800, 1500, tuple(-(-s // 16) for s in shape)).astype(np.float32)
    smooth = coarse
    for axis, size in enumerate(shape):
        grid = np.linspace(0, coarse.shape[axis] - 1, size)
        low = np.floor(grid).astype(int)
        high, part = np.minimum(low + 1, coarse.shape[axis] - 1), (grid - low).astype(np.float32)
        part = part.reshape([-1 if a == axis else 1 for a in range(3)])
        smooth = np.take(smooth, low, axis) * (1 - part) + np.take(smooth, high, axis) * part
    smooth += rng.standard_normal(shape, dtype=np.float32) * 8
    smooth[smooth < -600] = -1000  # air around the body, which compresses well
    nib.save(nib.Nifti1Image(smooth.astype(np.int16), np.diag([1.0, 1.0, 1.5, 1.0])), path)
    return path


def store(folder: Path, images: int, shape: tuple[int, ...]) -> TrainingData:
    """A store of that many images of noise as training data, without files that it was made from."""
    store = Store(folder, Recipe(size_px=shape[1:], channels=shape[0]), (("", 0, 0),) * images, {})
    stored = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(images, *shape))
    noise = np.random.default_rng(0).integers(0, 256, (min(images, 256), *shape), dtype=np.uint8)
    for start in range(0, images, len(noise)):  # a file of nothing but holes would not be read from disk
        stored[start : start + len(noise)] = noise[: images - start]
    stored.flush()
    targets = (np.arange(images) % 2).astype(float)[:, None]
    return TrainingData(store, np.arange(images), targets, np.ones_like(targets, dtype=bool), ("",) * images)
