"""ChestX-ray14 as NIH publishes it (Wang et al. 2017): label table, official split and boxes, with or without images.

What the files hide: two column names of the table contain a comma (so the header has eleven fields for nine names); the
first edition has ages such as 411 and `058Y`; the box table has three nameless columns and calls Infiltration
`Infiltrate`; the lists end without a newline. The table of 2017 and `_v2020` differ in 181 images, so the name of the
file is recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from resight.cohorts.columns import canonical_columns
from resight.cohorts.label_map import LabelMap
from resight.cohorts.labels import read_labels
from resight.cohorts.locate import find_images
from resight.cohorts.options import CohortOptions
from resight.cohorts.split import SplitOptions, split_cohort
from resight.errors import CohortError, nearest
from resight.tables import read_table
from resight.types import Cohort

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
"""The fourteen labels in the order of the paper."""
GRID_PX = 1024
"""Side of the published images; boxes are in its pixels."""

_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_BOXES = "BBox_List_2017.csv"
_LABEL_MAP = Path("chest-xray")
_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
_NEEDED = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
_COLUMNS = {
    "Follow-up #": "follow_up",
    "OriginalImage[Width": "original_width_px",
    "Height]": "original_height_px",
    "OriginalImagePixelSpacing[x": "original_spacing_x_mm",
    "y]": "original_spacing_y_mm",
}


def load_chestxray14(
    folder: Path,
    *,
    images: Path | None = None,
    missing_images: Literal["keep", "drop", "error"] = "keep",
    validation_fraction: float = 0.125,
    seed: int = 0,
) -> Cohort:
    """Read the cohort and attach the official split.

    Args:
        folder: holds `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv` (the first wins; also gzipped), perhaps
            `train_val_list.txt` and `test_list.txt`, and images in `images_001/images` ..., in `images`, or nowhere.
        images: folder of the images where it is another one.
        missing_images: `keep` rows without an image (all of them where there are no images), `drop` them, or `error`.
        validation_fraction: share of the official train_val images that become validation, by patient; 0.125 leaves
            70/10/20 of a random split's proportions.
        seed: of the carving.

    Returns:
        The fourteen labels, `patient_id`, `split` where both lists are there, `age`, `sex`, `view`, `follow_up` and
        the size and spacing before NIH rescaled the images.

    Raises:
        CohortError: no table, a table that is not ChestX-ray14's, a list that does not fit it, or absent images.
        LeakError: the lists share a patient.
    """
    path = _first(folder, _TABLES)
    if path is None:
        raise CohortError("no label table", where=str(folder), expected=" or ".join(_TABLES))
    options = CohortOptions(path=path, labels=LABELS, label_column="Finding Labels", label_map=_LABEL_MAP)
    table = read_table(path, error=CohortError, text_columns=("Image Index", "Patient ID"))
    if absent := [name for name in _NEEDED if name not in table.columns]:
        fix = nearest(absent[0], map(str, table.columns))
        raise CohortError(f"no column {absent[0]!r}", where=str(path), expected="the table of ChestX-ray14", fix=fix)
    if (twice := table["Image Index"].duplicated()).any():
        raise CohortError(f"{table['Image Index'][twice].iloc[0]} is listed twice", where=str(path))
    table, _ = canonical_columns(table.rename(columns=_COLUMNS), options, str(path))
    found = read_labels(table, options, str(path))
    values = found.values.reindex(columns=list(LABELS), fill_value=0.0)  # a short table may lack a finding altogether
    table = pd.concat([table.drop(columns="Finding Labels"), values], axis=1)
    table = table.drop(columns=[c for c in table if str(c).startswith("Unnamed")])
    notes = [f"Labels are those of {path.name}."]
    root, table = _attach_images(table, images or folder, missing_images, notes)
    cohort = Cohort(table.reset_index(drop=True), LABELS, "multilabel", root, "chestxray14", tuple(notes))
    return _official_split(cohort, folder, validation_fraction, seed)


def load_boxes(folder: Path) -> pd.DataFrame:
    """Read the 984 boxes that radiologists drew.

    Args:
        folder: holds `BBox_List_2017.csv` (also gzipped).

    Returns:
        Columns `image`, `label` (as in `LABELS`), `x_px`, `y_px`, `width_px`, `height_px` on the 1024 pixel grid, with
        x and y of the upper left corner.

    Raises:
        CohortError: no such file, or not the table of boxes.
    """
    path = _first(folder, (_BOXES,))
    if path is None:
        raise CohortError("no table of boxes", where=str(folder), expected=_BOXES)
    table = read_table(path, error=CohortError)
    names = ["image", "label", "x_px", "y_px", "width_px", "height_px"]
    if table.shape[1] < len(names):
        raise CohortError(f"{table.shape[1]} columns", where=str(path), expected=f"at least {len(names)}")
    boxes = table.iloc[:, : len(names)].set_axis(names, axis=1)
    mapping = LabelMap.read(_LABEL_MAP)
    boxes["label"] = boxes["label"].map({n: mapping.require(str(n), where=str(path)) for n in boxes["label"].unique()})
    return boxes.astype(dict.fromkeys(names[2:], float))


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    paths = [folder / (name + ending) for name in names for ending in ("", ".gz")]
    return next((path for path in paths if path.is_file()), None)


def _attach_images(
    table: pd.DataFrame, folder: Path, missing_images: str, notes: list[str]
) -> tuple[Path, pd.DataFrame]:
    root, found, _ = find_images(table["image"], [folder])
    present = found != ""
    if present.all():
        return root, table.assign(image=found)
    absent = f"{int((~present).sum())} of {len(table)} images are not there"
    if missing_images == "error" or (missing_images == "drop" and not present.any()):
        raise CohortError(absent, where=str(folder), expected="images_001/images ... or images")
    notes.append(f"{absent}; their rows were {'dropped' if missing_images == 'drop' else 'kept'}.")
    table = table.assign(image=found.where(present, table["image"]))
    return root, table[present] if missing_images == "drop" else table


def _official_split(cohort: Cohort, folder: Path, validation_fraction: float, seed: int) -> Cohort:
    lists = {part: path for part, name in _LISTS.items() if (path := _first(folder, (name,)))}
    if len(lists) < len(_LISTS):
        absent = [name for part, name in _LISTS.items() if part not in lists]
        note = f"No official split: {' and '.join(absent)} not there."
        return Cohort(cohort.table, cohort.labels, cohort.task, cohort.root, cohort.name, (*cohort.notes, note))
    fractions = (1 - validation_fraction, validation_fraction, 0.0)
    return split_cohort(cohort, SplitOptions(lists=lists, fractions=fractions, seed=seed))
