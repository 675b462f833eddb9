"""The table everybody writes and reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.errors import PredictionsError
from resight.predictions import Predictions


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.csv"
    path.write_text(text)
    return path


def made(rng: np.random.Generator) -> Predictions:
    images = pd.DataFrame(
        {"image": ["a", "b", "c"], "patient_id": ["1", None, "1"], "split": ["test", "train", "test"]}
    )
    p = rng.random((3, 2))
    y = np.array([[1, 0], [np.nan, 1], [0, 0.5]])
    columns = {"score": p, "probability": None, "target": y, "mask": np.array([[1, 1], [1, 1], [0, 1]], dtype=bool)}
    return Predictions.from_arrays(images.assign(age=[30, 40, 50]), ("x", "y"), "multilabel", **columns)


def test_arrays_come_back_as_they_went_in(rng: np.random.Generator) -> None:
    table = made(rng)
    assert len(table) == 3
    assert table.array("score").shape == (3, 2)
    assert not table.has("probability")
    np.testing.assert_array_equal(table.probabilities(), table.array("score"))
    np.testing.assert_array_equal(table.mask(), [[True, True], [False, True], [False, True]])
    assert table.groups().tolist() == ["1", "b", "1"]
    assert table.images().to_dict("list")["age"] == [30, 40, 50]
    assert list(table.images().columns) == ["image", "patient_id", "split", "age"]
    with pytest.raises(PredictionsError, match="no column 'logit'"):
        table.array("logit")


def test_a_written_table_reads_back_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    table = made(rng)
    for name in ("p.csv", "p.parquet"):
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        table.write(tmp_path / name)
        again = Predictions.read(tmp_path / name, "multilabel")
        assert again.labels == table.labels
        for column in ("score", "target"):
            np.testing.assert_array_equal(again.array(column), table.array(column))
        np.testing.assert_array_equal(again.mask(), table.mask())
        assert again.groups().tolist() == table.groups().tolist()


def test_rows_in_any_order_become_images_times_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "label,image,score,target\nx,a,1,1\nx,b,3,0\ny,b,4,1\ny,a,2,0\n")
    table = Predictions.read(path)
    assert table.labels == ("x", "y")
    assert table.array("score").tolist() == [[1, 2], [3, 4]]
    assert table.images()["image"].tolist() == ["a", "b"]
    assert table.groups().tolist() == ["a", "b"]


def test_the_task_is_guessed_from_labels_and_targets(tmp_path: Path) -> None:
    rows = "image,label,score,target\n"
    assert Predictions.read(write(tmp_path, rows + "a,x,1,1\n")).task == "binary"
    assert Predictions.read(write(tmp_path, rows + "a,x,1,1\na,y,1,0\nb,x,1,0\nb,y,1,1\n")).task == "multiclass"
    assert Predictions.read(write(tmp_path, rows + "a,x,1,1\na,y,1,1\n")).task == "multilabel"
    assert Predictions.read(write(tmp_path, "image,label,score\na,x,1\na,y,1\n")).task == "multilabel"
    assert Predictions.read(write(tmp_path, rows + "a,x,1,\na,y,1,\n")).task == "multilabel"
    assert Predictions.read(write(tmp_path, rows + "a,x,1,1\n"), "multilabel").task == "multilabel"


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path: Path) -> None:
    table = Predictions.read(write(tmp_path, "image,patient_id,label,score,target\n007,NA,None,0.5,true\n"))
    assert table.labels == ("None",)
    assert table.images()["image"].tolist() == ["007"]
    assert table.groups().tolist() == ["NA"]
    assert table.targets().tolist() == [[1.0]]


def test_the_score_is_the_best_there_is(tmp_path: Path) -> None:
    assert Predictions.read(write(tmp_path, "image,label,logit\na,x,-3\n")).array("score").tolist() == [[-3]]
    both = Predictions.read(write(tmp_path, "image,label,logit,probability\na,x,-3,0.2\n"))
    assert both.array("score").tolist() == [[0.2]]


def test_without_targets_nothing_counts(tmp_path: Path) -> None:
    table = Predictions.read(write(tmp_path, "image,label,score\na,x,0.3\n"))
    with pytest.raises(PredictionsError, match="no column 'target'"):
        table.mask()


def test_a_part_keeps_whole_images(rng: np.random.Generator) -> None:
    part = made(rng).part(split="test")
    assert part.images()["image"].tolist() == ["a", "c"]
    assert len(made(rng).part(split="nowhere")) == 0
    with pytest.raises(PredictionsError, match="no column 'fold'"):
        made(rng).part(fold=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,lable,score\na,x,1\n", r"no column 'label'. Did you mean 'lable'\?"),
        ("image,label,target\na,x,1\n", "no column with predictions; expected probability, score or logit"),
        ("image,label,score\n", "the table has no rows"),
        ("image,label,score\na,x,high\n", r"score = 'high' in row 2; expected a number"),
        ("image,label,score\na,x,1\na,x,2\n", "image 'a' has label 'x' twice"),
        ("image,label,score\na,x,1\na,y,1\nb,x,1\n", "image 'b' has no row for label 'y'"),
        ("image,label,probability\na,x,1.2\n", "probability = 1.2 for image 'a'; expected 0 to 1"),
        ("image,label,score,target\na,x,1,-1\n", "target = -1 for image 'a'; expected 0 to 1"),
        ("image,label,score,decision\na,x,1,0.5\n", "decision = 0.5 for image 'a'; expected 0 or 1"),
        ("image,label,score\n,x,1\n", "no image in row 2"),
        ("image,label,score\na,,1\n", "no label in row 2"),
    ],
)
def test_impossible_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        Predictions.read(write(tmp_path, text))
