"""Files, folders, tables and stores, written down once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pandas as pd
import pytest

from resight.bulk import ImageList, predict_in_parts
from resight.bulk.part import Work
from resight.errors import CohortError, ImageError, ResightError, SettingsError
from resight.models import Predictor


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """A store that lives in this process, empty before and after."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def listed(folder: Path, *inputs: str, volumes: bool = False) -> list[tuple[str, str]]:
    images, _ = ImageList.write(folder / "images.sqlite", inputs, volumes=volumes)
    return images.part(1, 1000)


def test_parts_cover_the_list_once(pictures: Path, tmp_path: Path) -> None:
    images, repeated = ImageList.write(tmp_path / "images.sqlite", [str(pictures)], volumes=False)
    parts = [images.part(number, 4) for number in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [4, 4, 3, 0]
    assert [name for part in parts for name, _ in part] == [
        *("0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png", "8.png", "cut.png", "deeper/9.png"),
    ]
    assert (len(images), repeated) == (11, 0)


def test_an_image_named_twice_is_listed_once(pictures: Path, tmp_path: Path) -> None:
    inputs = [str(pictures), str(pictures / "deeper"), str(pictures / "0.png")]
    images, repeated = ImageList.write(tmp_path / "images.sqlite", inputs, volumes=False)
    assert (len(images), repeated) == (11, 2)


@pytest.mark.parametrize("kind", ["csv", "semicolons", "parquet"])
def test_tables_name_images_beside_them(pictures: Path, tmp_path: Path, kind: str) -> None:
    table = pd.DataFrame({"age": [61, 50, 7], " image ": ["0.png", "deeper/9.png", str(pictures / "1.png")]})
    path = pictures / f"table.{'parquet' if kind == 'parquet' else 'csv'}"
    if kind == "parquet":
        table.to_parquet(path)
    else:
        path.write_text("\ufeff" + table.to_csv(index=False, sep="," if kind == "csv" else ";"), encoding="utf-8")
    assert listed(tmp_path, str(path)) == [
        ("0.png", str(pictures / "0.png")),
        ("deeper/9.png", str(pictures / "deeper" / "9.png")),
        (str(pictures / "1.png"), str(pictures / "1.png")),
    ]


def test_stores_give_the_rows_that_folders_give(
    bundle_folder: Path, pictures: Path, tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    memory.put(str(pictures), "/store/pictures", recursive=True)
    memory.pipe("/store/pictures/notes.md", b"no image")
    memory.pipe("/store/table.csv", b"image\npictures/0.png\nmemory://store/pictures/absent.png\n")
    work = Work(str(bundle_folder), batch=2, part_images=4)

    def table(place: str, name: str) -> pd.DataFrame:
        report = predict_in_parts([place], work, tmp_path / f"{name}.csv", tmp_path / name)
        assert report.stage_images_per_s["fetch"] > 0
        return pd.read_csv(tmp_path / f"{name}.csv")

    Predictor.load(bundle_folder).predict(str(pictures), batch=2).write(tmp_path / "expected.csv")
    for place in ("memory://store/pictures", f"file://{pictures}"):
        found = table(place, place.partition(":")[0])
        assert found["error"].notna().sum() == 2
        found["error"] = found["error"].str.replace(place, str(pictures))
        pd.testing.assert_frame_equal(found, pd.read_csv(tmp_path / "expected.csv"))
    rows = table("memory://store/table.csv", "named")
    assert rows["image"].tolist() == ["pictures/0.png"] * 2 + ["memory://store/pictures/absent.png"] * 2
    assert rows["logit"].isna().tolist() == [False, False, True, True]
    assert rows["error"][3] == "memory://store/pictures/absent.png: no such file or folder"


def test_slices_in_a_folder_of_a_store_are_one_volume(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    for name in ("a/1.dcm", "a/2.dcm", "b/1.dcm", "c.nii.gz", "d.png", ".hidden/1.dcm", "readme.txt"):
        memory.pipe(f"/store/{name}", b"x")
    assert [name for name, _ in listed(tmp_path, "memory://store", volumes=True)] == ["a", "b", "c.nii.gz", "d.png"]
    names = [name for name, _ in listed(tmp_path, "memory://store", volumes=False)]
    assert names == ["a/1.dcm", "a/2.dcm", "b/1.dcm", "c.nii.gz", "d.png"]


def test_memory_does_not_grow_with_a_table(tmp_path: Path) -> None:
    peaks: list[int] = []
    for count in (5_000, 50_000):
        path = tmp_path / f"{count}.csv"
        path.write_text("image\n" + "".join(f"folder/image_{i:09d}.png\n" for i in range(count)))
        tracemalloc.start()
        images, _ = ImageList.write(tmp_path / f"{count}.sqlite", [str(path)], volumes=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(images) == count
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("t.csv", b"Image,age\na.png,1\n", CohortError, "t.csv: no column 'image'. Did you mean 'Image'?"),
        ("t.csv", b"", CohortError, "t.csv: no column 'image'. There are none."),
        ("t.csv", b"image,age\na.png,1\n,2\n", CohortError, "t.csv: no image in row 2"),
        ("t.csv", b"image\na\xff.png\n", CohortError, "t.csv: cannot be read as a table ('utf-8' codec"),
        ("t.parquet", b"PAR1, cut off", CohortError, "t.parquet: cannot be read as a table ("),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, error: type[ResightError], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error) as raised:
        listed(tmp_path, str(tmp_path / name))
    assert str(raised.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "images.sqlite").exists()


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("ftps3://bucket/folder", SettingsError, "ftps3://bucket/folder: unknown scheme 'ftps3'; expected a path, or"),
        ("ftps3://bucket/table.csv", SettingsError, "ftps3://bucket/table.csv: unknown scheme 'ftps3'"),
        ("memory://store/absent", ImageError, "memory://store/absent: no such file or folder"),
        ("memory://store/absent.csv", CohortError, "memory://store/absent.csv: cannot be read ("),
        ("absent/folder", ImageError, "absent/folder: no such file or folder"),
        ("absent/table.csv", CohortError, "absent/table.csv: no such file"),
    ],
)
def test_places_that_are_not_there(
    tmp_path: Path, place: str, error: type[ResightError], message: str, memory: fsspec.AbstractFileSystem
) -> None:
    with pytest.raises(error) as raised:
        listed(tmp_path, place)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
