from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resight.errors import SettingsError
from resight.evaluation import make_groupings

IMAGES = pd.DataFrame(
    {
        "image": list("abcdefgh"),
        "sex": ["F", "M", None, "F", "M", "F", "M", ""],
        "age": [5.0, 23, 29, 41, np.nan, 85, 99, 30],
        "follow_up": range(8),
    }
)


def test_ages_fall_into_decades_and_missing_ones_nowhere() -> None:
    (age,) = make_groupings(IMAGES, ["age"])
    assert age.groups == ("below 10", "20 to <30", "30 to <40", "40 to <50", "80 and above")
    assert age.index.tolist() == [0, 1, 1, 3, -1, 4, 4, 2]
    assert age.unknown == 1


def test_given_edges_are_taken() -> None:
    (age,) = make_groupings(IMAGES, ["age"], {"age": (18, 65)})
    assert age.groups == ("below 18", "18 to <65", "65 and above")


def test_intersections_hold_what_is_known_of_both() -> None:
    (both,) = make_groupings(IMAGES, ["sex+age"], {"age": (40,)})
    assert both.groups == ("F, below 40", "F, 40 and above", "M, below 40", "M, 40 and above")
    assert both.index.tolist() == [0, 2, -1, 1, -1, 1, 3, -1]


def test_other_numbers_fall_into_quarters() -> None:
    (follow_up,) = make_groupings(IMAGES, ["follow_up"])
    assert np.bincount(follow_up.index).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("by", "edges", "told"),
    [
        (["sexx"], {}, "Did you mean 'sex'"),
        (["image"], {}, "no attribute 'image'"),
        (["age"], {"age": (40, 40)}, "rising"),
        (["sex"], {"sex": (1,)}, "not numbers"),
        (["sex"], {"age": (1,)}, "not grouped by"),
    ],
)
def test_what_makes_no_groups_is_refused(by: list[str], edges: dict[str, tuple[float, ...]], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        make_groupings(IMAGES, by, edges)
