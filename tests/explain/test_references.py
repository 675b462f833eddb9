"""References land where the network sees what they mark, whatever form they come in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cohorts import PhantomOptions, render, write_phantom
from resight.errors import DataError
from resight.explain import References
from resight.imaging import read
from resight.preprocess import Recipe

LABELS = ("Mass", "Effusion")
BOX = {"image": "a.png", "label": "Mass", "x_px": 30, "y_px": 10, "width_px": 20, "height_px": 8}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """60 rows of 100 pixels with a bright rectangle where `BOX` is."""
    pixels = np.full((60, 100), 20, np.uint8)
    pixels[10:18, 30:50] = 250
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    return tmp_path / "a.png"


def table(folder: Path, *rows: dict[str, object], name: str = "boxes.csv") -> Path:
    pd.DataFrame(list(rows)).to_csv(folder / name, index=False)
    return folder / name


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_a_box_lies_on_what_it_marks(image: Path, resize: str) -> None:
    recipe = Recipe(size_px=(40, 40), channels=1, resize=resize)
    seen = read(image, voi=recipe.voi)
    references = References.read(table(image.parent, BOX))
    found = references.on_prepared_grid("somewhere/a.png", seen, recipe, LABELS)
    assert found.shape == (2, 40, 40)
    assert not found[1].any()
    bright = recipe.apply(seen)[0] > 135
    assert (found[0] == bright).mean() > 0.995
    assert found[0].any()


def test_a_mask_does_the_same(image: Path) -> None:
    recipe = Recipe(size_px=(40, 40), channels=1)
    folder = image.parent / "masks" / "Effusion"
    folder.mkdir(parents=True)
    mask = np.zeros((60, 100), np.uint8)
    mask[10:18, 30:50] = 255
    cv2.imwrite(str(folder / "a.png"), mask)
    seen = read(image, voi=recipe.voi)
    of_mask = References.read(image.parent / "masks").on_prepared_grid("a.png", seen, recipe, LABELS)
    of_box = References.read(table(image.parent, BOX)).on_prepared_grid("a.png", seen, recipe, LABELS)
    assert np.array_equal(of_mask[1], of_box[0])
    assert not of_mask[0].any()


def test_two_boxes_of_a_label_are_one_reference_and_a_tiny_one_keeps_a_pixel(image: Path) -> None:
    recipe = Recipe(size_px=(12, 12), channels=1, resize="stretch")
    small = BOX | {"x_px": 90.2, "y_px": 50.1, "width_px": 0.4, "height_px": 0.4}
    path = table(image.parent, BOX, small)
    found = References.read(path).on_prepared_grid("a.png", read(image, voi=recipe.voi), recipe, LABELS)
    alone = References.read(table(image.parent, small)).on_prepared_grid("a.png", read(image), recipe, LABELS)
    assert 1 <= alone[0].sum() <= 2  # two pixels where it lies on their common edge
    assert found[0].sum() > 2


def test_masks_of_the_phantom(tmp_path: Path) -> None:
    options = PhantomOptions(images=6, size_px=64, findings=LABELS, prevalence=0.9, masks=True)
    write_phantom(options, tmp_path)
    references = References.read(tmp_path / "masks")
    recipe = Recipe(size_px=(64, 64), channels=1)
    for index in range(6):
        name = f"images/{index:06d}.png"
        found = references.on_prepared_grid(name, read(tmp_path / name), recipe, LABELS)
        for row, label in enumerate(LABELS):
            drawn = render(options, index).masks.get(label, np.zeros((64, 64), bool))
            assert np.array_equal(found[row], drawn)
        assert references.names(name)
    assert not references.names("images/000099.png")


def test_boxes_of_nih_are_scaled_from_their_grid(image: Path) -> None:
    header = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    path = image.parent / "BBox_List_2017.csv"
    path.write_text(header + f"a.png,Mass,{30 * 10.24},{10 * 1024 / 60},{20 * 10.24},{8 * 1024 / 60},,,\n")
    recipe = Recipe(size_px=(40, 40), channels=1)
    seen = read(image, voi=recipe.voi)
    scaled = References.read(path).on_prepared_grid("a.png", seen, recipe, LABELS)
    assert np.array_equal(
        scaled, References.read(table(image.parent, BOX)).on_prepared_grid("a.png", seen, recipe, LABELS)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x_px": "left"}, "x_px = left; expected a number"),
        ({"y_px": None}, "y_px = nan; expected a number"),
        ({"width_px": 0}, "width_px = 0; expected a number above 0"),
        ({"height_px": -3.5}, "height_px = -3.5; expected a number above 0"),
        ({"x_px": 100}, "a.png: a box of Mass outside the image; expected 100 x 60 pixels"),
        ({"y_px": -8}, "a.png: a box of Mass outside the image"),
    ],
)
def test_a_box_without_place_or_size_is_refused(image: Path, change: dict[str, object], told: str) -> None:
    recipe = Recipe(size_px=(40, 40), channels=1)
    with pytest.raises(DataError, match=told):
        References.read(table(image.parent, BOX | change)).on_prepared_grid("a.png", read(image), recipe, LABELS)


def test_what_is_wrong_is_said(image: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'width_px'"):
        References.read(table(image.parent, {key: BOX[key] for key in BOX if key != "width_px"}))
    folder = image.parent / "masks" / "Mass"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.zeros((5, 5), np.uint8))
    recipe = Recipe(size_px=(40, 40), channels=1)
    with pytest.raises(DataError, match="a mask of 5x5; expected 60x100, as the image"):
        References.read(image.parent / "masks").on_prepared_grid("a.png", read(image), recipe, LABELS)
