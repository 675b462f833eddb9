"""Labels are found from their descriptions when the features really follow the attributes, and not otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resight.errors import CohortError
from resight.fewshot import ZeroShotOptions, encode, fit_compatibility, leave_one_label_out, read_descriptions

LABELS = tuple("abcdefgh")
ATTRIBUTES = np.array(
    [
        [(number >> bit) & 1 for bit in range(3)] + [1 - ((number >> bit) & 1) for bit in range(3)]
        for number in range(8)
    ],
    float,
)


def world(seed: int, count: int = 600, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Each image has one label; its features are the label's attributes, mixed."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(6, 30))
    truth = rng.integers(0, 8, count)
    return ATTRIBUTES[truth] @ mixing + noise * rng.normal(size=(count, 30)), np.eye(8)[truth]


def test_unseen_labels_are_found_through_their_attributes() -> None:
    patients = np.arange(600).astype(str)
    result = leave_one_label_out(world(0), world(1), LABELS, ATTRIBUTES, patients, ZeroShotOptions())
    assert result.mean_unseen.low > 0.75
    assert all(one.auroc.low > 0.5 for one in result.labels)
    assert 0.5 < result.harmonic < 1


def test_labels_that_the_network_was_taught_are_told_apart() -> None:
    patients = np.arange(600).astype(str)
    given = (world(0), world(1), LABELS, ATTRIBUTES, patients, ZeroShotOptions())
    result = leave_one_label_out(*given, taught=("a", "b", "c", "other"))
    assert [one.label for one in result.labels if one.new_to_network] == list("defgh")
    values = np.array([one.auroc.value for one in result.labels if one.new_to_network])
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(
        [result.mean_new.value, result.mean_new.low, result.mean_new.high], [values.mean(), low, high]
    )
    assert result.mean_unseen.n == 8
    few = leave_one_label_out(*given, taught=LABELS[2:]).mean_new
    assert np.isfinite(few.value)
    assert np.isnan(few.low), "two labels say nothing of others"
    assert leave_one_label_out(*given, taught=LABELS).mean_new.undefined_because == "no label that can be judged"


def test_wrong_descriptions_are_worth_nothing() -> None:
    rng = np.random.default_rng(5)
    random = rng.normal(size=ATTRIBUTES.shape)
    patients = np.arange(600).astype(str)
    result = leave_one_label_out(world(0), world(1), LABELS, random, patients, ZeroShotOptions())
    assert result.mean_unseen.low < 0.5 < result.mean_unseen.high + 0.15
    assert np.mean([one.taught.value for one in result.labels]) > 0.7


def test_descriptions_that_do_not_tell_labels_apart_are_refused() -> None:
    x, y = world(0, 50)
    same = ATTRIBUTES.copy()
    same[3] = same[1]
    with pytest.raises(CohortError, match="descriptions 2 and 4 are the same"):
        fit_compatibility(x, y, same, ZeroShotOptions())
    with pytest.raises(CohortError, match="8 labels and 7 descriptions"):
        fit_compatibility(x, y, ATTRIBUTES[:7], ZeroShotOptions())
    with pytest.raises(CohortError, match="not numbers"):
        fit_compatibility(x, y, np.full((8, 2), np.nan), ZeroShotOptions())


def test_unknown_targets_count_as_neither() -> None:
    x, y = world(0, 200)
    y[:50] = np.nan
    everything = fit_compatibility(x[50:], y[50:], ATTRIBUTES, ZeroShotOptions())
    assert np.isfinite(fit_compatibility(x, y, ATTRIBUTES, ZeroShotOptions()).map).all()
    assert np.isfinite(everything.map).all()


def test_attributes_are_read_and_scaled(tmp_path: Path) -> None:
    pd.DataFrame({"label": ["b", "a"], "lung": [3, 1], "heart": [0, 5]}).to_csv(tmp_path / "d.csv", index=False)
    np.testing.assert_array_equal(read_descriptions(tmp_path / "d.csv", ("a", "b")), [[0, 1], [1, 0]])
    with pytest.raises(CohortError, match="no description of 'c'"):
        read_descriptions(tmp_path / "d.csv", ("a", "c"))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"name": ["a"]}, "no column 'label'"),
        ({"label": ["a", "a"], "x": [1, 2]}, "described twice"),
        ({"label": ["a", "b"], "x": ["much", 2]}, "column 'x' holds no number"),
    ],
)
def test_tables_that_describe_nothing_are_refused(table: dict[str, list[object]], said: str, tmp_path: Path) -> None:
    pd.DataFrame(table).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(CohortError, match=said):
        read_descriptions(tmp_path / "d.csv", tuple(dict.fromkeys(table.get("label", ["a"]))))


@pytest.mark.slow
def test_sentences_of_like_meaning_are_near() -> None:
    fluid, water, bone = encode(["fluid around the lung", "water beside the lungs", "a broken bone"])
    assert fluid @ water > fluid @ bone + 0.2
