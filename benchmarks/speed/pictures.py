"""Rows 5 to 7: PNG and JPEG to the network's grid, first and later passes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from benchmarks.speed import inputs
from benchmarks.speed.measure import import_torchvision, one_thread, paired
from resight.preprocess import Recipe, Store

SIZE_PX = 224


def main() -> None:
    one_thread()
    import_torchvision()
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize

    loading = LoadImage(image_only=True, reader="PILReader")
    monai = Compose([loading, EnsureChannelFirst(), Resize((SIZE_PX, SIZE_PX), mode="area")])
    xrv = _torchxrayvision()
    recipe = Recipe(size_px=(SIZE_PX, SIZE_PX), resize="stretch")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pngs = inputs.png(folder, 3)
        reference, ours = np.asarray(monai(pngs[0])[0]).T, recipe.prepare(pngs[0])[0].astype(float)
        paired(
            "05",
            "PNG 1024 px to 224 px, first pass",
            {
                "MONAI": lambda: [monai(path) for path in pngs],
                "Resight": lambda: [recipe.prepare(path) for path in pngs],
            },
            must=1.4,
            difference=float(np.abs(ours - reference).mean()),
            tolerance=1.0,
            unit="grey levels on average",
            libraries=("monai", "opencv-python-headless", "pillow"),
        )
        paired(
            "05b",
            "the same, to torchxrayvision",
            {
                "torchxrayvision": lambda: [xrv(path) for path in pngs],
                "Resight": lambda: [recipe.prepare(path) for path in pngs],
            },
            must=4.0,
            difference=float(np.abs(ours - (xrv(pngs[0])[0] / 1024 + 1) / 2 * 255).mean()),
            tolerance=1.0,
            unit="grey levels on average",
            libraries=("torchxrayvision", "opencv-python-headless"),
        )
        jpegs = inputs.jpeg(folder, 3)
        packed = [np.fromfile(path, np.uint8) for path in jpegs]
        rgb = Recipe(size_px=(SIZE_PX, SIZE_PX), channels=3, resize="stretch")
        reference = np.asarray(monai(jpegs[0])).transpose(0, 2, 1)
        paired(
            "06",
            "JPEG 1022 x 767 px to 224 px",
            {
                "MONAI": lambda: [monai(path) for path in jpegs],
                "Resight": lambda: [rgb.prepare(path) for path in jpegs],
                "Pillow, draft at half size, box filter": lambda: [_by_pillow(path) for path in jpegs],
                "decoding at half size alone, OpenCV": lambda: [
                    cv2.imdecode(bytes_, cv2.IMREAD_REDUCED_COLOR_2) for bytes_ in packed
                ],
            },
            must=5.0,
            difference=float(np.abs(rgb.prepare(jpegs[0]) - reference).mean()),
            tolerance=2.0,
            unit="grey levels on average",
            libraries=("monai", "opencv-python-headless", "pillow"),
            note="a JPEG decoded at half its size lacks the finest noise of the full decode",
        )
        _later_passes(folder, pngs, monai, recipe)


def _later_passes(folder: Path, pngs: list[Path], monai, recipe: Recipe) -> None:
    store = Store.build(pngs, recipe, folder / "store", workers=1)
    small = [folder / f"small_{path.name}" for path in pngs]
    for path, image in zip(small, store.images, strict=True):
        cv2.imwrite(str(path), image[0])
    stored = np.array(store[0]).astype(int)

    def later_pass() -> list[np.ndarray]:
        return [np.array(store[index]) for index in range(len(pngs))]

    paired(
        "07",
        "the same images again: memory-mapped store of decoded images",
        {"MONAI": lambda: [monai(path) for path in pngs], "Resight": later_pass},
        must=100.0,
        difference=float(np.abs(stored - recipe.prepare(pngs[0])).max()),
        tolerance=0.0,
        unit="grey levels, to the first pass",
        libraries=("monai",),
    )
    paired(
        "07b",
        "the same, to a folder of PNG of the final size",
        {
            "Pillow": lambda: [np.asarray(PIL.Image.open(path)) for path in small],
            "Resight": later_pass,
        },
        must=20.0,
        difference=float(np.abs(stored[0] - np.asarray(PIL.Image.open(small[0]))).max()),
        tolerance=0.0,
        unit="grey levels",
        libraries=("pillow",),
    )


def _by_pillow(path: Path) -> np.ndarray:
    """The least that Pillow can do: it too decodes a JPEG at half its size when it is asked to."""
    with PIL.Image.open(path) as picture:
        picture.draft("RGB", (picture.width // 2, picture.height // 2))
        return np.asarray(picture.resize((SIZE_PX, SIZE_PX), PIL.Image.Resampling.BOX))


def _torchxrayvision():
    import skimage.io
    import torchxrayvision
    from torchvision.transforms import Compose

    smaller = Compose([torchxrayvision.datasets.XRayCenterCrop(), torchxrayvision.datasets.XRayResizer(SIZE_PX)])

    def read(path: Path) -> np.ndarray:
        return smaller(torchxrayvision.datasets.normalize(skimage.io.imread(path), 255)[None])

    return read


if __name__ == "__main__":
    main()
