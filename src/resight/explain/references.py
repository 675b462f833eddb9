"""Where findings are, as people drew them: tables of boxes, NIH's list, or masks beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from resight.cohorts.chestxray14 import GRID_PX, load_boxes
from resight.cohorts.phantom import read_masks
from resight.errors import DataError, nearest
from resight.explain.localisation import box_region
from resight.imaging import VOI, read
from resight.preprocess import Recipe
from resight.tables import read_table
from resight.types import Image

BOX_COLUMNS = ("image", "label", "x_px", "y_px", "width_px", "height_px")
_NIH_LIST = "BBox_List"
_AS_STORED = VOI(mode="fixed", center=0.5, width=1.0)
Region = Bool[np.ndarray, "*space"]


@dataclass(frozen=True)
class References:
    """Boxes or masks by image.

    Attributes:
        boxes: columns `BOX_COLUMNS`; None where there are masks.
        side_px: side of the square images that the boxes were drawn on; None where it is that of each file.
        folder: of the masks; None where there are boxes.
    """

    boxes: pd.DataFrame | None = None
    side_px: int | None = None
    folder: Path | None = None

    @classmethod
    def read(cls, path: Path) -> References:
        """Read boxes, or take a folder of masks.

        Args:
            path: a table with `image, label, x_px, y_px, width_px, height_px` (corner of the box nearest the first
                pixel, in pixels of the upright image); NIH's `BBox_List_2017.csv`; or a folder with masks: those of
                the phantom, `LABEL/NAME.png`, or for a model of one label volumes named like those they belong to.

        Raises:
            DataError: neither, a column is missing, or a box has no place or no size.
        """
        if path.is_dir():
            return cls(folder=path)
        if path.name.startswith(_NIH_LIST):
            return cls(load_boxes(path.parent), GRID_PX)
        table = read_table(path, error=DataError, text_columns=("image", "label"))
        if absent := [name for name in BOX_COLUMNS if name not in table.columns]:
            fix = nearest(absent[0], map(str, table.columns))
            raise DataError(f"no column {absent[0]!r}", where=str(path), expected=", ".join(BOX_COLUMNS), fix=fix)
        for name in BOX_COLUMNS[2:]:
            table[name] = _lengths(table[name], str(path))
        return cls(table)

    def names(self, name: str) -> bool:
        """Whether there is a reference for an image; its file name counts."""
        file = name.rsplit("/", 1)[-1]
        if self.boxes is not None:
            return bool(self._rows(file).any())
        assert self.folder is not None
        return any(path.is_file() for path in (self.folder / file, *self.folder.glob(f"**/{_stem(file)}.png")))

    def on_prepared_grid(
        self, name: str, image: Image, recipe: Recipe, labels: Sequence[str]
    ) -> Bool[np.ndarray, "L *prepared"]:
        """References of one image where the network sees it; empty for labels without one.

        Args:
            name: of the image; its file name counts.
            image: as it was read, at full size.
            recipe: of the model.
            labels: of the model, in order.

        Raises:
            DataError: a mask has another size than its image, or a box lies outside.
            ImageError: a mask cannot be read.
        """
        file = name.rsplit("/", 1)[-1]
        regions = self._of_boxes(file, image) if self.boxes is not None else self._of_masks(file, labels)
        found = np.zeros((len(labels), *recipe.size_px), dtype=bool)
        for row, label in enumerate(labels):
            region = regions.get(label)
            if region is None:
                continue
            if region.shape != image.pixels.shape[1:]:
                sizes = ["x".join(map(str, shape)) for shape in (region.shape, image.pixels.shape[1:])]
                raise DataError(f"a mask of {sizes[0]}", where=name, expected=f"{sizes[1]}, as the image")
            found[row] = recipe.place_region(image, region)
        return found

    def _of_boxes(self, file: str, image: Image) -> dict[str, Region]:
        assert self.boxes is not None
        space = image.pixels.shape[1:]
        scale = np.ones(2) if self.side_px is None else np.asarray(space) / self.side_px
        regions: dict[str, Region] = {}
        for row in self.boxes.loc[self._rows(file)].to_dict("records"):
            start = scale * [float(row["y_px"]), float(row["x_px"])]
            size = scale * [float(row["height_px"]), float(row["width_px"])]
            if (start + size <= 0).any() or (start >= space).any():
                found = f"a box of {row['label']} outside the image"
                raise DataError(found, where=file, expected=f"{space[1]} x {space[0]} pixels")
            drawn = box_region(space, tuple(start), tuple(size))
            label = str(row["label"])
            regions[label] = regions[label] | drawn if label in regions else drawn
        return regions

    def _rows(self, file: str) -> pd.Series[bool]:
        assert self.boxes is not None
        return self.boxes["image"].astype(str).str.rsplit("/", n=1).str[-1] == file

    def _of_masks(self, file: str, labels: Sequence[str]) -> dict[str, Region]:
        assert self.folder is not None
        named = {label: self.folder / label / f"{_stem(file)}.png" for label in labels}
        if any(path.is_file() for path in named.values()):
            return {label: _region(path) for label, path in named.items() if path.is_file()}
        if (packed := self.folder / f"{_stem(file)}.png").is_file():
            return dict(read_masks(packed))
        if len(labels) == 1 and (same := self.folder / file).is_file():
            return {labels[0]: _region(same)}
        return {}


def _lengths(values: pd.Series, where: str) -> pd.Series[float]:
    """One column of boxes as numbers; widths and heights above 0."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    side = values.name in ("width_px", "height_px")
    wrong = ~np.isfinite(numbers) | (side & (numbers <= 0))
    if wrong.any():
        expected = "a number above 0" if side else "a number"
        raise DataError(f"{values.name} = {values[wrong].iloc[0]}", where=where, expected=expected)
    return numbers


def _stem(file: str) -> str:
    return file.removesuffix(".gz").rsplit(".", 1)[0]


def _region(path: Path) -> Region:
    """A mask in any format that images are read in: what is not 0."""
    return read(path, voi=_AS_STORED).pixels.max(axis=0) > 0
