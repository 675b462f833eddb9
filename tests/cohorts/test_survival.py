"""Times become labels of intervals, such that the masked cross-entropy is the likelihood of discrete hazards."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cohorts import CohortOptions, load_cohort
from resight.cohorts.survival import interval_labels, interval_names
from resight.errors import CohortError, SettingsError
from resight.settings import validate


def _cohort(folder: Path, **columns: list) -> Path:
    count = len(next(iter(columns.values())))
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((8, 8), 9 + index, np.uint8))
    path = folder / "cohort.csv"
    pd.DataFrame({"image": [f"{i}.png" for i in range(count)], **columns}).to_csv(path, index=False)
    return path


def _options(path: Path, **more: object) -> CohortOptions:
    given = {"path": path, "time_column": "days", "event_column": "died", "intervals": (10.0, 20.0)}
    return validate(CohortOptions, given | more, where="test")


def test_every_kind_of_patient() -> None:
    #                 event in 1, event in 2, event later, censored early, late in 1, late in 2, after, at time 0
    time = np.array([4.0, 20.0, 25.0, 4.0, 6.0, 16.0, 30.0, 0.0])
    event = np.array([True, True, True, False, False, False, False, True])
    labels = interval_labels(time, event, (10.0, 20.0))
    assert tuple(labels) == interval_names((10.0, 20.0)) == ("event in 0 to 10", "event in 10 to 20")
    nan = np.nan
    np.testing.assert_array_equal(labels["event in 0 to 10"], [1, 0, 0, nan, 0, 0, 0, 1])
    np.testing.assert_array_equal(labels["event in 10 to 20"], [nan, 1, 0, nan, nan, 0, 0, nan])


def test_masked_cross_entropy_is_the_likelihood_of_discrete_hazards(rng: np.random.Generator) -> None:
    """Gensheimer & Narasimhan 2019, equation 2, written out for every patient."""
    import torch

    from resight.training import LOSSES

    horizons = (1.0, 2.0, 4.0)
    time, event = rng.exponential(2.0, 40), rng.random(40) < 0.6
    targets = np.column_stack(list(interval_labels(time, event, horizons).values()))
    logits = rng.normal(size=targets.shape)
    hazards = 1 / (1 + np.exp(-logits))
    total = 0.0
    for i in range(40):
        for k, (begin, end) in enumerate(zip((0.0, *horizons), horizons, strict=False)):
            if event[i] and begin < time[i] <= end:
                total -= np.log(hazards[i, k])
            elif time[i] > end or (not event[i] and time[i] >= (begin + end) / 2):
                total -= np.log(1 - hazards[i, k])
    mask = torch.from_numpy(~np.isnan(targets))
    loss = LOSSES.build("binary", {}, task="multilabel", positive_weight=None)
    ours = loss(torch.from_numpy(logits), torch.from_numpy(np.nan_to_num(targets)), mask)
    assert float(ours * mask.sum()) == pytest.approx(total)


def test_a_cohort_of_times(tmp_path: Path) -> None:
    path = _cohort(tmp_path, days=[4, 20, 25, 6], died=["yes", "1", "no", "0"], age=[40, 50, 60, 70])
    cohort = load_cohort(_options(path))
    assert cohort.horizons == (10.0, 20.0)
    assert cohort.task == "multilabel"
    assert cohort.attributes == ("age",)  # what happened is no attribute
    assert cohort.table["time"].tolist() == [4, 20, 25, 6]
    assert cohort.table["event"].tolist() == [1, 1, 0, 0]


def test_training_events_choose_the_intervals(tmp_path: Path) -> None:
    days = [1, 2, 3, 4, 100, 200]
    path = _cohort(tmp_path, days=days, died=[1] * 6, split=["train"] * 4 + ["validation", "test"])
    assert load_cohort(_options(path, intervals=2)).horizons == (2.5, 4.0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"days": [4, -2], "died": [1, 0]}, "time '-2' in data row 2"),
        ({"days": [4, None], "died": [1, 0]}, "time '' in data row 2"),
        ({"days": [4, 5], "died": [1, None]}, "'' in data row 2 does not say whether the event came"),
        ({"days": [4, 5], "died": [1, 3]}, "'3' in data row 2 does not say"),
        ({"days": [4, 5], "died": [0, 0]}, "all are censored"),
        ({"days": [4, 5], "dead": [0, 1]}, "no column 'died'"),
    ],
)
def test_bad_times_are_told_in_one_line(tmp_path: Path, columns: dict, message: str) -> None:
    with pytest.raises(CohortError) as caught:
        load_cohort(_options(_cohort(tmp_path, **columns)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        {"event_column": None},
        {"labels": ("x",)},
        {"intervals": 1},
        {"intervals": (5.0, 5.0)},
        {"intervals": (0.0, 5.0)},
    ],
)
def test_settings_that_do_not_go_together(tmp_path: Path, more: dict) -> None:
    with pytest.raises(SettingsError):
        _options(tmp_path, **more)
