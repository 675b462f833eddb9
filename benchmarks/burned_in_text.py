"""How often text in the pixels is noticed, and how often there is none where some was noticed.

python -m benchmarks.burned_in_text ../shared/data --out benchmarks/results/clinic/burned_in.json --pictures flagged

Text of a kind that names patients is drawn into every second chest radiograph, in fonts and words that were not used
when the detector was made; the numbers in `imaging/burned_in.py` were chosen on the other radiographs. Letters are
given as the size of the font in shares of the longer side. Text that hardly differs from what is below it (less than 60
of 255 grey levels) is counted apart, and images that are flagged as they came get none. Those, and skin and brain
images, tell how often the detector is wrong: what it flags is written to a folder, and a person says what is there.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from resight.evaluation.proportions import wilson
from resight.imaging import VOI, read
from resight.imaging.burned_in import text_rows
from resight.types import Pixels

FONTS = Path("/usr/share/fonts/truetype")
WORDS = (
    "MUELLER^HANNA",
    "ID 4471203",
    "O'Brien, Liam 071Y F",
    "2019-12-01 08:15",
    "PORTABLE AP ERECT",
    "Ward 7 Bed 12",
)
SIZES = (0.016, 0.020, 0.024, 0.031, 0.047, 0.063)
PLACES = ("top left", "top right", "bottom left", "bottom right", "anywhere")
CLEAN = {"cxr_covid_multimodal": (1, 2), "cxr_pneumonia_kermany": (1, 4), "brain_mri_tumour_nickparvar": (1, 4),
         "derm_isic2017": (1, 8)}  # fmt: skip
"""First image and step in each folder; those for choosing were the other ones."""
_SEEN = 60


def images(data: Path, name: str, thin: int) -> Iterator[tuple[str, Pixels]]:
    first, step = CLEAN[name]
    for path in sorted((data / name / "images").rglob("*.*"))[first :: step * thin]:
        yield path.name, read(path, voi=VOI()).pixels


def drawn(pixels: Pixels, size: float, draw: random.Random) -> tuple[Pixels, str, bool]:
    """One image with text; where it stands, and whether it differs from what is below it."""
    grey = np.ascontiguousarray(pixels.max(axis=0))
    height, width = grey.shape
    font = ImageFont.truetype(str(draw.choice(sorted(FONTS.rglob("*.ttf"))[1::2])), round(size * max(height, width)))
    words, place, ink = draw.choice(WORDS), draw.choice(PLACES), draw.choice((255, 255, 255, 220, 0))
    picture = Picture.fromarray(grey)
    pen = ImageDraw.Draw(picture)
    box = pen.textbbox((0, 0), words, font=font)
    across, down = max(width - int(box[2]) - 6, 1), max(height - int(box[3]) - 6, 1)
    left = draw.randint(0, across) if place == "anywhere" else 6 if "left" in place else across
    top = draw.randint(0, down) if place == "anywhere" else 6 if "top" in place else down
    below = np.median(grey[top : top + int(box[3]), left : left + int(box[2])])
    pen.text((left, top), words, fill=ink, font=font)
    return np.asarray(picture)[np.newaxis], place, bool(abs(float(below) - ink) >= _SEEN)


def share(found: list[bool]) -> dict[str, Any]:
    low, high = wilson(sum(found), len(found)) if found else (float("nan"), float("nan"))
    return {"found": sum(found), "of": len(found), "interval": [round(low, 3), round(high, 3)]}


def measure(data: Path, pictures: Path | None, thin: int) -> dict[str, Any]:
    draw = random.Random(7)
    sizes: dict[str, list[bool]] = {}
    places: dict[str, list[bool]] = {}
    faint: list[bool] = []
    flagged: dict[str, Any] = {}
    for name in CLEAN:
        names, count = [], 0
        for file, pixels in images(data, name, thin):
            count += 1
            if rows := text_rows(pixels):
                names.append(file)
                _show(pixels, rows, pictures, f"{name}-{file}")
            if rows or name != "cxr_covid_multimodal":  # what holds text already would be found without ours
                continue
            for size in SIZES:
                with_text, place, visible = drawn(pixels, size, draw)
                found = bool(text_rows(with_text))
                if not visible:
                    faint.append(found)
                    continue
                sizes.setdefault(f"{size:.3f}", []).append(found)
                if size >= 0.024:
                    places.setdefault(place, []).append(found)
        flagged[name] = {"images": count, "flagged": names}
    return {
        "one image in": thin,
        "drawn text by size of font over longer side": {size: share(found) for size, found in sizes.items()},
        "of 0.024 and more, by place": {place: share(found) for place, found in places.items()},
        "text that hardly differs from its ground": share(faint),
        "as they came": flagged,
    }


def _show(pixels: Pixels, rows: list[Any], folder: Path | None, name: str) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    picture = np.ascontiguousarray(np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels).transpose(1, 2, 0)
    picture = np.ascontiguousarray(picture[:, :, ::-1])
    height, width = picture.shape[:2]
    for row in rows:
        x, y, w, h = row.box
        corners = (
            (round(x * width) - 2, round(y * height) - 2),
            (round((x + w) * width) + 2, round((y + h) * height) + 2),
        )
        cv2.rectangle(picture, *corners, (0, 0, 255), 1)
    cv2.imwrite(str(folder / f"{name}.png"), picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the real images")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for what was flagged, to be looked at")
    parser.add_argument("--thin", type=int, default=1, help="look at every nth image only")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    text = json.dumps(measure(options.data, options.pictures, options.thin), indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
