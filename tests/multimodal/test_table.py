"""Columns become numbers that training rows alone decide, and missing is a state of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resight.errors import CohortError
from resight.multimodal import CategoricalColumn, ClinicalOptions, NumericColumn, TableEncoding
from resight.settings import validate

OPTIONS = ClinicalOptions(columns=("age", "sex"))
TRAIN = pd.DataFrame({"image": ["a", "b", "c"], "age": [40.0, 60.0, np.nan], "sex": ["F", "M", None]})


def _fit(**changes: object) -> TableEncoding:
    return TableEncoding.fit(TRAIN, OPTIONS.model_copy(update=changes), where="cohort")


def test_numbers_are_standardised_by_training_rows_and_missing_has_a_column_of_its_own() -> None:
    encoding = _fit()
    later = pd.DataFrame({"age": [70.0, None], "sex": ["M", ""]})
    np.testing.assert_allclose(encoding.encode(later, where=""), [[2, 0, 0, 1, 0], [0, 1, 0, 0, 1]])
    np.testing.assert_array_equal(encoding.nothing(), encoding.encode(later, where="")[1])


def test_a_missing_number_is_not_the_mean() -> None:
    rows = _fit().encode(pd.DataFrame({"age": [50.0, np.nan], "sex": ["F", "F"]}), where="")
    assert rows[0, 0] == rows[1, 0] == 0
    assert (rows[0] != rows[1]).any()


def test_an_encoding_comes_back_from_json() -> None:
    encoding = _fit(categorical=("sex",))
    again = validate(TableEncoding, encoding.model_dump(mode="json"), where="manifest")
    assert again == encoding
    assert isinstance(again.columns[0], NumericColumn)
    assert isinstance(again.columns[1], CategoricalColumn)


def test_codes_are_categories_where_said_so() -> None:
    table = pd.DataFrame({"ward": [1, 2, 2]})
    encoding = TableEncoding.fit(table, ClinicalOptions(columns=("ward",), categorical=("ward",)), where="")
    rows = encoding.encode(pd.DataFrame({"ward": [2.0, np.nan]}), where="")  # a blank makes integers floats
    np.testing.assert_array_equal(rows, [[0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"age": [50.0]}, "t.csv: no column 'sex', which the model reads; expected age, sex"),
        (
            {"age": [50.0], "sex": ["X"], "image": ["p.png"]},
            "column 'sex' of 'p.png' is 'X', which training did not see",
        ),
        ({"age": ["old"], "sex": ["F"]}, "column 'age' of data row 1 is 'old'; expected a number, or blank"),
        ({"age": [np.inf], "sex": ["F"]}, "column 'age' of data row 1 is 'inf'"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(table: dict, message: str) -> None:
    with pytest.raises(CohortError) as caught:
        _fit().encode(pd.DataFrame(table), where="t.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_policies_turn_strange_values_and_absent_columns_into_missing() -> None:
    encoding = _fit(unseen="missing", absent="missing")
    rows = encoding.encode(pd.DataFrame({"sex": ["X"]}), where="")
    np.testing.assert_array_equal(rows[0], encoding.nothing())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("weight",), "no clinical column 'weight'"),
        (("same",), "is 1 in every training row"),
        (("empty",), "is empty in every training row"),
        (("name",), "has 60 different values"),
    ],
)
def test_columns_that_teach_nothing_are_refused(columns: tuple[str, ...], message: str) -> None:
    table = pd.DataFrame({"same": [1.0] * 60, "empty": [np.nan] * 60, "name": [f"n{i}" for i in range(60)]})
    with pytest.raises(CohortError, match=message):
        TableEncoding.fit(table, ClinicalOptions(columns=columns), where="cohort")
