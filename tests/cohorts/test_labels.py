from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.cohorts.labels import SMOOTH_RANGE, Labelled, read_labels
from resight.cohorts.options import CohortOptions
from resight.errors import CohortError


def labels_of(table: dict[str, list[object]], **options: object) -> Labelled:
    frame = pd.DataFrame(table)
    frame.insert(0, "image", [f"{row}.png" for row in range(len(frame))])
    return read_labels(frame, CohortOptions.model_validate({"path": Path("t.csv"), **options}), "t.csv")


MIXED = {"X": [1, 0, -1, None, "u", "1.0", "no", "TRUE"]}


@pytest.mark.parametrize(("policy", "uncertain"), [("ignore", math.nan), ("zeros", 0.0), ("ones", 1.0)])
def test_uncertain_labels(policy, uncertain):
    values = labels_of(MIXED, labels=["X"], uncertain=policy).values["X"].to_numpy()
    np.testing.assert_array_equal(values, [1, 0, uncertain, math.nan, uncertain, 1, 0, 1])


def test_smoothed_labels_depend_on_image_and_label_only():
    table = {"X": [-1] * 200 + [1, 0], "Y": [-1] * 200 + [1, 0]}
    values = labels_of(table, uncertain="smooth").values
    smooth = values.iloc[:200]
    assert smooth.to_numpy().min() >= SMOOTH_RANGE[0]
    assert smooth.to_numpy().max() <= SMOOTH_RANGE[1]
    assert smooth["X"].nunique() == 200
    assert (smooth["X"] != smooth["Y"]).all()
    assert abs(smooth["X"].mean() - 0.7) < 0.03
    again = labels_of({"Y": table["Y"], "X": table["X"]}, uncertain="smooth").values
    pd.testing.assert_frame_equal(values, again[["X", "Y"]])


def test_smoothing_without_uncertain_labels_changes_nothing():
    assert labels_of({"X": [1, 0]}, uncertain="smooth").values["X"].tolist() == [1, 0]


def test_blank_labels_are_masked_unless_they_mean_negative():
    assert labels_of(MIXED, labels=["X"]).values["X"].isna().tolist() == [False, False, True, True, True] + [False] * 3
    assert labels_of(MIXED, labels=["X"], blank="negative").values["X"].iloc[3] == 0


def test_finding_lists():
    found = labels_of({"Finding Labels": ["A|B", "No Finding", "B", None, " A | C "]})
    assert (found.task, list(found.values)) == ("multilabel", ["A", "B", "C"])
    assert found.values["A"].tolist()[:3] == [1, 0, 0]
    assert found.values.iloc[3].isna().all()
    assert found.values.iloc[4].tolist() == [1, 0, 1]
    assert labels_of({"f": ["A|B", "C"]}, label_column="f", labels=["B"]).task == "binary"
    with pytest.raises(CohortError, match="Did you mean 'Effusion'"):
        labels_of({"f": ["A|Effusion", "B"]}, label_column="f", labels=["Efusion"])


def test_no_finding_can_be_asked_for():
    found = labels_of({"f": ["A|B", "No Finding"]}, label_column="f", labels=["No Finding", "A"])
    assert found.values.to_numpy().tolist() == [[0, 1], [1, 0]]


def test_a_class_column_comes_before_columns_of_zero_and_one():
    found = labels_of({"label": ["x", "y", "z"], "abnormal": [0, 1, 1]})
    assert (found.task, list(found.values), found.consumed) == ("multiclass", ["x", "y", "z"], ("label",))
    assert any("'label'" in note for note in found.notes)


def test_columns_of_zero_and_one_are_found_and_constants_are_not():
    found = labels_of({"A": [0, 1, 1], "B": [1, 0, -1], "always": [1, 1, 1], "count": [0, 1, 2], "age": [0, 1, 1]})
    assert list(found.values) == ["A", "B"]


def test_answers_in_words_are_labels_where_there_are_no_others():
    found = labels_of({"Effusion": ["yes", "no", ""], "Mass": [True, False, True], "always": ["no", "no", "no"]})
    assert list(found.values) == ["Effusion", "Mass"]
    np.testing.assert_array_equal(found.values["Effusion"], [1, 0, math.nan])
    assert found.values["Mass"].tolist() == [1, 0, 1]
    assert found.notes == ("Labels are the columns of yes and no: Effusion, Mass.",)
    assert list(labels_of({"smoker": ["yes", "no"], "Effusion": [0, 1]}).values) == ["Effusion"]
    assert list(labels_of({"nodule": ["Y", "N"]}, label_column="nodule").values) == ["nodule"]


def test_classes_that_are_numbers_keep_their_order():
    found = labels_of({"label": [10, 2, 1, 2]})
    assert list(found.values) == ["1", "2", "10"]


def test_a_label_column_of_zero_and_one_is_binary():
    found = labels_of({"label": [0, 1, -1, None]})
    assert (found.task, list(found.values)) == ("binary", ["label"])
    np.testing.assert_array_equal(found.values["label"], [0, 1, math.nan, math.nan])


def test_the_positive_class_is_given_or_guessed_and_noted():
    table = {"label": ["cat", "dog", "cat"]}
    assert any("last in the alphabet" in note for note in labels_of(table).notes)
    assert labels_of(table, positive="cat").values["cat"].tolist() == [1, 0, 1]
    assert list(labels_of({"label": ["zebra", "Normal"]}).values) == ["zebra"]
    three = labels_of({"label": ["mel", "nev", "sk"]}, positive="mel")
    assert (three.task, three.values["mel"].tolist()) == ("binary", [1, 0, 0])


def test_label_map_joins_names_and_chooses_columns(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('[labels.Effusion]\nsynonyms = ["Pleural Effusion", "fluid"]\n[labels.Mass]\n')
    table = {"pleural_effusion": [1, 0, 0], "Fluid": [0, 0, 1], "smoker": [1, 0, 1], "mass": [0, 1, 0]}
    found = labels_of(table, label_map=path)
    assert found.values["Effusion"].tolist() == [1, 0, 1]
    assert list(found.values) == ["Effusion", "Mass"]
    assert labels_of(table, label_map=path, labels=["Mass", "Effusion"]).consumed == (
        "mass",
        "pleural_effusion",
        "Fluid",
    )
    lists = labels_of({"f": ["fluid|MASS", "No Finding"]}, label_column="f", label_map=path)
    assert lists.values.to_numpy().tolist() == [[1, 1], [0, 0]]
    with pytest.raises(CohortError, match=r"does not know 'Masss'. Did you mean 'Mass'"):
        labels_of({"f": ["fluid|Masss", "No Finding"]}, label_column="f", label_map=path)


def test_a_blank_never_undoes_a_known_label_of_a_synonym(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('[labels.X]\nsynonyms = ["Y"]\n')
    found = labels_of({"X": [1, None, None], "Y": [None, 0, None]}, label_map=path, labels=["X"])
    np.testing.assert_array_equal(found.values["X"], [1, 0, math.nan])
