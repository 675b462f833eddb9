"""What bulk inference takes of one core: images by seconds of processor time, by stage and for whole predictions.

    python benchmarks/capacity_rates.py --data ../shared/data --out benchmarks/results/capacity/rates.json

One thread; processor time, so that other programs on the machine matter little.

    python benchmarks/capacity_rates.py --device cuda --out gpu.json

measures what the network alone does on a GPU, by the clock and with larger batches.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import gdcm
import numpy as np
import pydicom
import torch

from resight.imaging import list_images
from resight.models import Manifest, ModelOptions, Predictor, TorchEngine, build_classifier, save_bundle
from resight.preprocess import Recipe
from resight.settings import write_json

SIZE_PX = 224
BATCH = 16
DEVICE_BATCH = 256
ROUNDS = 5
PREDICTED = 8
MODEL = ModelOptions(backbone={"name": "resnet", "depth": 18})
FULL_PX = 2048
SYNTAXES = {
    "uncompressed": pydicom.uid.ExplicitVRLittleEndian,
    "RLE": pydicom.uid.RLELossless,
    "JPEG lossless": pydicom.uid.JPEGLosslessSV1,
    "JPEG-LS": pydicom.uid.JPEGLSLossless,
    "JPEG 2000": pydicom.uid.JPEG2000Lossless,
}


def rate(work: Callable[[], object], images: int, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """Images per second of a clock: median of the rounds, and its 95 % bootstrap interval."""
    work()  # the first call prepares memory and kernels
    rates = []
    for _ in range(ROUNDS):
        began = clock()
        work()
        rates.append(images / (clock() - began))
    drawn = np.random.default_rng(0).choice(rates, (2000, ROUNDS))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return {"images_per_s": float(np.median(rates)), "low": float(low), "high": float(high), "images": images}


def measure(data: Path) -> dict[str, dict[str, dict[str, float]]]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = Recipe(size_px=(SIZE_PX, SIZE_PX))
    found: dict[str, dict[str, dict[str, float]]] = {"network": {}, "prepare": {}, "predict": {}}
    model = build_classifier(MODEL, labels=("finding",), channels=1, dims=2).eval()
    model = model.to(memory_format=torch.channels_last)
    batch = np.random.default_rng(0).integers(0, 256, (BATCH, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    for precision in ("fp32", "bf16"):
        engine = TorchEngine(model, torch.device("cpu"), precision)
        found["network"][f"ResNet-18, {precision}"] = rate(lambda engine=engine: engine.logits(batch), BATCH)
        print(precision, found["network"], flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        images = sources(data, Path(scratch))
        for name, files in images.items():
            entry = rate(lambda files=files: [recipe.prepare(file) for file in files], len(files))
            entry["mean_bytes"] = float(np.mean([file.stat().st_size for file in files]))
            found["prepare"][name] = entry
            print(name, entry, flush=True)
        save_bundle(Path(scratch) / "bundle", model, manifest(recipe))
        predictor = Predictor.load(Path(scratch) / "bundle", precision="fp32")
        for name, files in images.items():
            many = [str(file) for file in (files * PREDICTED)[:PREDICTED]]
            entry = rate(lambda many=many: predictor.predict(many, batch=BATCH), len(many))
            found["predict"][name] = entry
            print("predict", name, entry, flush=True)
    return found


def measure_device(name: str) -> dict[str, dict[str, dict[str, float]]]:
    """The network on a device, from images in the machine's memory to logits there."""
    torch.manual_seed(0)
    device = torch.device(name)
    model = build_classifier(MODEL, labels=("finding",), channels=1, dims=2).eval()
    model = model.to(device, memory_format=torch.channels_last)
    shape = (DEVICE_BATCH, 1, SIZE_PX, SIZE_PX)
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = {}
    for precision in ("fp32", "bf16"):
        engine = TorchEngine(model, device, precision)
        found[f"ResNet-18, {precision}, {name}"] = rate(
            lambda engine=engine: engine.logits(batch), DEVICE_BATCH, time.perf_counter
        )
    return {"network": found}


def manifest(recipe: Recipe) -> Manifest:
    return Manifest(name="rates", created="-", labels=("finding",), task="binary", recipe=recipe, model=MODEL)


def sources(data: Path, scratch: Path) -> dict[str, list[Path]]:
    """Real radiographs as they are here, and enlarged to the size of a detector with its noise, as DICOM."""
    small = list_images(data / "cxr_pneumonia_kermany")[::50][:16]
    real = list_images(data / "cxr_fullres_samples")
    rng = np.random.default_rng(0)
    large: dict[str, list[Path]] = {name: [] for name in SYNTAXES}
    for number in range(4):
        grey = cv2.imread(str(real[number % len(real)]), cv2.IMREAD_GRAYSCALE)
        enlarged = cv2.resize(grey, (FULL_PX, FULL_PX), interpolation=cv2.INTER_CUBIC).astype(float) * 16
        pixels = np.clip(enlarged + rng.normal(0, 12, enlarged.shape), 0, 4095).astype(np.uint16)
        plain = scratch / f"{number}.dcm"
        write_radiograph(plain, pixels)
        for name, syntax in SYNTAXES.items():
            large[name].append(scratch / f"{number}-{name}.dcm")
            compress(plain, large[name][-1], syntax)
    titled = {f"DICOM, {name}, {FULL_PX} x {FULL_PX}, 12 bit": files for name, files in large.items()}
    return {"PNG, 512 x 512": real, "JPEG, 224 x 224": small, **titled}


def compress(plain: Path, target: Path, syntax: str) -> None:
    """The same pixels, without loss, in another transfer syntax."""
    if syntax == pydicom.uid.JPEGLosslessSV1:  # pydicom knows no encoder of it
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(plain))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(target))
        writer.Write()
        return
    dataset = pydicom.dcmread(plain)
    if syntax != pydicom.uid.ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(target)


def write_radiograph(path: Path, pixels: np.ndarray) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", help="measure the network alone on this device, as `cuda`")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.out, measure_device(given.device) if given.device else measure(given.data))


if __name__ == "__main__":
    main()
