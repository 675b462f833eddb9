"""How fast volumes are read, augmented and learned from, beside MONAI and PyTorch's defaults.

    OMP_NUM_THREADS=1 python benchmarks/volumes.py

MONAI is not a dependency; `pip install monai` beforehand, or leave it out: SciPy stands in for the augmentation and
nibabel for the reading. Processor time of one thread, both sides in turn, medians of paired ratios. Writes
results/volumes/speed.json and .md beside this file.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from resight.backbones import build_backbone
from resight.imaging import VOI, read
from resight.models import autocast, channels_last, with_channels_last
from resight.preprocess import Augmentation, AugmentParams

RESULTS = Path(__file__).parent / "results" / "volumes"
CPU = torch.device("cpu")
HAS_MONAI = importlib.util.find_spec("monai") is not None


def paired(
    theirs: Callable[[], object], ours: Callable[[], object], repeats: int
) -> tuple[float, float, float, float, float]:
    """Median seconds of both, and the median, lowest and highest of their paired ratios."""
    theirs(), ours()
    times = np.array([[_seconds(theirs), _seconds(ours)] for _ in range(repeats)])
    ratios = times[:, 0] / times[:, 1]
    return (*np.median(times, axis=0).tolist(), float(np.median(ratios)), float(ratios.min()), float(ratios.max()))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def reading(folder: Path) -> dict[str, tuple[float, ...]]:
    """256 x 256 x 128 voxels of smooth tissue with noise, as a scanner gives them."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((256, 256, 128), dtype=np.float32), 6) * 8000
    values = (smooth + rng.normal(0, 12, smooth.shape)).astype(np.int16)
    path = folder / "volume.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([-0.8, -0.8, 2.0, 1.0])), path)
    voi = VOI(mode="fixed", center=0.0, width=800.0)
    rows = {
        "read .nii.gz 256x256x128, nibabel values alone": paired(
            lambda: np.asarray(nib.load(path).dataobj), lambda: read(path, voi=voi), 9
        )
    }
    if HAS_MONAI:
        from monai.transforms import LoadImage, Orientation, ScaleIntensityRange

        load, turn = LoadImage(image_only=True, ensure_channel_first=True), Orientation("SPL")
        scale = ScaleIntensityRange(-400, 400, 0, 1, clip=True)
        rows["the same, MONAI LoadImage, Orientation, ScaleIntensityRange"] = paired(
            lambda: scale(turn(load(path))), lambda: read(path, voi=voi), 9
        )
    return rows


def augmenting() -> dict[str, tuple[float, ...]]:
    """A random affine change of 128^3 voxels that ends on 64^3."""
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 255, (1, 128, 128, 128), np.uint8)
    params = AugmentParams((True, False, False), rotate_deg=8, tilt_deg=(5, -7), scale=1.1, shift=(0.03, -0.02, 0.04))
    flat = AugmentParams((True, False, False), rotate_deg=8, scale=1.1, shift=(0.03, -0.02, 0.04))
    ours, size = Augmentation(), (64, 64, 64)
    matrix = params.matrix((128, 128, 128))

    def in_two_steps() -> object:
        moved = ndimage.affine_transform(volume[0].astype(np.float32), matrix[:3, :3], matrix[:3, 3], order=1)
        return ndimage.zoom(moved, 0.5, order=1)

    rows = {
        "SciPy affine_transform and zoom, turned in space": paired(
            in_two_steps, lambda: ours.apply(volume, params, size), 5
        )
    }
    if HAS_MONAI:
        from monai.transforms import RandAffine, Resize

        move = RandAffine(
            prob=1.0,
            rotate_range=(0.15, 0.15, 0.15),
            scale_range=(0.1, 0.1, 0.1),
            translate_range=(5, 5, 5),
            padding_mode="zeros",
        )
        shrink, tensor = Resize(size), torch.from_numpy(volume).float()
        rows["MONAI RandAffine and Resize, turned in space"] = paired(
            lambda: shrink(move(tensor)), lambda: ours.apply(volume, params, size), 9
        )
        rows["MONAI RandAffine and Resize; ours turned within slices"] = paired(
            lambda: shrink(move(tensor)), lambda: ours.apply(volume, flat, size), 9
        )
    return rows


def learning() -> dict[str, tuple[float, ...]]:
    """ResNet-18 on two volumes of 64^3: float32 in PyTorch's default layout against bf16 with channels last."""
    rows: dict[str, tuple[float, ...]] = {}
    images = torch.rand(2, 1, 64, 64, 64)
    for stem in ("imagenet", "strided"):
        torch.manual_seed(0)
        plain = build_backbone("resnet", dims=3, in_channels=1, stem=stem)
        torch.manual_seed(0)
        fast = with_channels_last(build_backbone("resnet", dims=3, in_channels=1, stem=stem))

        def forward(train: bool, *, quick: bool, plain=plain, fast=fast) -> object:
            network, precision = (fast, "bf16") if quick else (plain, "fp32")
            network.train(train)
            with torch.set_grad_enabled(train), autocast(precision, CPU):
                answer = network(channels_last(images) if quick else images).float().square().mean()
            if train:
                answer.backward()
                network.zero_grad()
            return answer

        for train, word in ((False, "forward"), (True, "training step")):
            rows[f"3D ResNet-18 64^3, {stem} stem, {word}"] = paired(
                partial(forward, train, quick=False), partial(forward, train, quick=True), 5
            )
    return rows


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = {**reading(Path(folder)), **augmenting(), **learning()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    keys = ("theirs_s", "ours_s", "times_faster", "lowest", "highest")
    table = {name: dict(zip(keys, row, strict=True)) for name, row in rows.items()}
    (RESULTS / "speed.json").write_text(json.dumps(table, indent=1) + "\n")
    lines = [
        "# Volumes: reading, augmenting, learning",
        "",
        "Processor time of one thread of 2 cores of an AMD EPYC (Zen 5), no GPU (`benchmarks/volumes.py`); times "
        "faster is the median of pairs in turn, with the lowest and highest pair.",
        "",
        "| work, what it is compared with | theirs ms | Resight ms | times faster |",
        "|---|---|---|---|",
        *(
            f"| {name} | {1e3 * a:.1f} | {1e3 * b:.1f} | {ratio:.1f} ({low:.1f} to {high:.1f}) |"
            for name, (a, b, ratio, low, high) in rows.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "speed.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
