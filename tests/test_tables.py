"""Tables as people make them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.errors import CohortError, OutputError
from resight.tables import read_table, require_columns, write_table

TEXT = "image,Größe\nä.png,1\nb.png,2\n"


def read(path: Path, **options: object) -> pd.DataFrame:
    return read_table(path, error=CohortError, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("padding", ["", "\n"])
def test_any_encoding(tmp_path: Path, encoding: str, padding: str) -> None:
    """Also of an even and an odd number of bytes: UTF-16 decodes nearly anything even."""
    path = tmp_path / "t.csv"
    path.write_bytes((TEXT + padding).encode(encoding))
    table = read(path)
    assert list(table.columns) == ["image", "Größe"]
    assert table["image"].tolist() == ["ä.png", "b.png"]
    assert table["Größe"].tolist() == [1, 2]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_separator(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"image{separator} age \na{separator}3\n")
    assert read(path).to_dict("list") == {"image": ["a"], "age": [3]}


def test_compressed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert len(read(path)) == 2


def test_text_columns_stay_text_even_where_they_look_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("patient_id, label,age\n007,None,NA\nNA,null,3\n,n/a,\n")
    table = read(path, text_columns=("patient_id", "label", "absent"))
    assert table["patient_id"].tolist()[:2] == ["007", "NA"]
    assert pd.isna(table["patient_id"].iloc[2])
    assert table["label"].tolist() == ["None", "null", "n/a"]
    assert np.isnan(table["age"].iloc[0])


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pd.DataFrame({" image ": ["a"]}).to_parquet(path)
    assert list(read(path).columns) == ["image"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "no such file"),
        ("empty.csv", b"", r"empty \(0 bytes\)"),
        (
            "ragged.csv",
            b"a,b\n1,2\n1,2,3,4\n",
            r"table \(Expected 2 fields in line 3, saw 4\); expected CSV or Parquet$",
        ),
        ("blank.csv", b"\n\n", "cannot be read as a table"),
        ("not.csv.gz", b"plain text", "cannot be read as a table"),
        ("cut.csv.gz", gzip.compress(TEXT.encode() * 99, mtime=0)[:40], "cannot be read as a table"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CohortError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_or_a_name_that_is_nearly_right(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text(TEXT)
    with pytest.raises(CohortError, match=r"no such file. Did you mean '.*/cohort.csv'\?"):
        read(tmp_path / "cohrot.csv")
    with pytest.raises(CohortError, match="is a folder; expected a table"):
        read(tmp_path)


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(CohortError, match="cannot be read as a table"):
        read(tmp_path / "t.parquet")


def test_a_full_disk_leaves_no_half_table_and_the_old_one_whole(tiny_disk: Path, rng: np.random.Generator) -> None:
    small = pd.DataFrame({"image": ["a"], "score": [0.5]})
    write_table(small, tiny_disk / "table.csv")
    before = (tiny_disk / "table.csv").read_bytes()
    large = pd.DataFrame({"image": [str(n) for n in range(200_000)], "score": rng.random(200_000)})
    for name in ("table.csv", "table.parquet"):
        with pytest.raises(OutputError, match=r"table\.\w+: cannot be written \(.*o space left on device"):
            write_table(large, tiny_disk / name)
    assert [path.name for path in tiny_disk.iterdir()] == ["table.csv"]
    assert (tiny_disk / "table.csv").read_bytes() == before


def test_columns_that_are_not_there() -> None:
    table = pd.DataFrame({"image": ["a"], "lable": [1]})
    require_columns(table, "image", error=CohortError, where="x.csv")
    with pytest.raises(CohortError, match=r"x.csv: no column 'label'. Did you mean 'lable'\?"):
        require_columns(table, "image", "label", error=CohortError, where="x.csv")
