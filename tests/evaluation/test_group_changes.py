"""Falls of sensitivity that were planted are found in their group, with paired intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resight.evaluation import groups_of, sensitivity_changes


def planted(seed: int = 0):
    """Women lose a third of the positives that were found; men lose none."""
    rng = np.random.default_rng(seed)
    sex = np.repeat(["F", "M"], 100)
    targets = np.ones((200, 1))
    before = (rng.random((200, 1)) < 0.9).astype(float)
    after = before.copy()
    after[:100][rng.random((100, 1)) < 1 / 3] = 0
    groups = {("sex", "F"): sex == "F", ("sex", "M"): sex == "M"}
    return before, after, targets, groups


def test_the_group_that_pays_is_found() -> None:
    before, after, targets, groups = planted()
    patients = (np.arange(200), 200)
    found = sensitivity_changes(before, after, targets, targets == 1, ["mass"], groups, patients)
    everyone, women, men = found
    assert [(row.attribute, row.group) for row in found] == [("", "all"), ("sex", "F"), ("sex", "M")]
    assert women.before == before[:100].mean()
    assert women.change == pytest.approx((after - before)[:100].mean())
    assert women.low < women.change < women.high < -0.15
    assert (men.change, men.low, men.high) == (0, 0, 0)
    assert everyone.change == pytest.approx(women.change / 2)
    assert str(women).startswith("mass, sex F: sensitivity 0.840 becomes 0.600 (100 positives, -")


def test_the_interval_is_about_as_wide_as_that_of_a_paired_difference() -> None:
    before, after, targets, groups = planted()
    women = sensitivity_changes(before, after, targets, targets == 1, ["m"], groups, (np.arange(200), 200))[1]
    error = (after - before)[:100].std(ddof=1) / 10
    assert (women.high - women.low) / 2 == pytest.approx(1.96 * error, rel=0.15)


def test_images_of_one_patient_count_as_one() -> None:
    before, after, targets, groups = planted()
    before, after, targets = (np.repeat(a, 5, axis=0) for a in (before, after, targets))
    groups = {name: np.repeat(member, 5) for name, member in groups.items()}
    by_patient = (np.repeat(np.arange(200), 5), 200)
    by_image = (np.arange(1000), 1000)
    wide, narrow = (
        sensitivity_changes(before, after, targets, targets == 1, ["m"], groups, patients)[1]
        for patients in (by_patient, by_image)
    )
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)


def test_small_groups_and_masked_rows_are_left_out() -> None:
    before, after, targets, groups = planted()
    groups = {("site", "B"): np.arange(200) < 4}
    mask = np.ones((200, 1), dtype=bool)
    mask[:150] = False
    found = sensitivity_changes(before, after, targets, mask, ["m"], groups, (np.arange(200), 200), replicates=0)
    assert [(row.group, row.positives, row.low) for row in found] == [("all", 50, None)]


def test_groups_are_values_and_halves() -> None:
    table = pd.DataFrame({"sex": ["F", None, "M"] * 4, "age": range(12), "name": [f"x{i}" for i in range(12)]})
    groups = groups_of(table, ["sex", "age", "name"])
    assert list(groups) == [("sex", "F"), ("sex", "M"), ("age", "below 5.5"), ("age", "5.5 or above")]
    assert groups["sex", "F"].sum() == 4
    assert groups["age", "below 5.5"].sum() == 6
