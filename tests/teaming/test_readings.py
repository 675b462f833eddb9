from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.errors import PredictionsError
from resight.teaming import Readings

GOOD = pd.DataFrame(
    {"image": ["a", "b", "a"], "reader": ["r1", "r1", "r2"], "decision": [1, 0, 1], "rating": [0.9, 0.2, 0.7]}
)


def test_a_table_without_label_and_arm_is_read(tmp_path: Path) -> None:
    GOOD.to_csv(tmp_path / "r.csv", index=False)
    readings = Readings.read(tmp_path / "r.csv", only_label="Mass")
    assert readings.labels == ("Mass",)
    assert readings.arms == ("unaided",)
    assert readings.readers == ("r1", "r2")
    matrix = readings.matrix("decision", np.array(["a", "b"], dtype=object), "unaided")
    np.testing.assert_array_equal(matrix, [[1, 0], [1, np.nan]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="reader"), "no column 'reader'"),
        (lambda t: t.drop(columns=["decision", "rating"]), "no column with readings"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.assign(decision=[1, 2, 0]), "decision = 2; expected 0 or 1"),
        (lambda t: t.assign(rating=["high", 0.1, 0.2]), "rating = 'high'; expected a number"),
        (lambda t: t.assign(rating=[np.inf, 0.1, 0.2]), "rating is infinite"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "two readings of image 'a'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change, said: str) -> None:
    with pytest.raises(PredictionsError, match=said) as caught:
        Readings.from_table(change(GOOD))
    assert "\n" not in str(caught.value)


def test_unknown_arms_and_labels_are_named(study) -> None:
    with pytest.raises(PredictionsError, match="Nodule"):
        study[1].of("Nodul")
    with pytest.raises(PredictionsError, match="arm 'aided'"):
        study[1].of("Nodule", "aided")


def test_tables_without_a_common_image_are_refused(study) -> None:
    strange = Readings.from_table(GOOD, only_label="Nodule")
    with pytest.raises(PredictionsError, match="share no image"):
        strange.with_reference(study[0])
