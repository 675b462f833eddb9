"""Undefined rates are not zero."""

from __future__ import annotations

import numpy as np
import pytest

from resight.evaluation import Confusion, class_metrics, confusion, decision_metrics

Y = np.array([1.0, 1, 1, 0, 0])


def test_counts() -> None:
    assert confusion(Y, np.array([1, 1, 0, 1, 0])) == Confusion(2, 1, 1, 1)
    assert confusion(Y[:0], Y[:0]) == Confusion(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("targets", "called", "undefined"),
    [
        (
            Y,
            np.zeros(5),
            {"ppv": "nothing was called positive", "mcc": "a row or column of the confusion table is empty"},
        ),
        (
            Y,
            np.ones(5),
            {"npv": "nothing was called negative", "mcc": "a row or column of the confusion table is empty"},
        ),
        (
            np.zeros(2),
            np.zeros(2),
            {
                "sensitivity": "no positives",
                "ppv": "nothing was called positive",
                "balanced_accuracy": "one class is absent",
                "f1": "no positives and nothing called positive",
                "mcc": "a row or column of the confusion table is empty",
            },
        ),
    ],
)
def test_exactly_the_undefined_rates_say_why(
    targets: np.ndarray, called: np.ndarray, undefined: dict[str, str]
) -> None:
    values = decision_metrics(targets, called)
    assert {name: v.undefined_because for name, v in values.items() if np.isnan(v.value)} == undefined
    assert all(v.undefined_because == "" for v in values.values() if not np.isnan(v.value))


def test_a_missed_positive_is_zero_and_defined() -> None:
    values = decision_metrics(Y, np.zeros(5))
    assert values["sensitivity"].value == 0
    assert values["f1"].value == 0
    assert values["sensitivity"].n == 3
    assert values["accuracy"].n == 5


def test_no_rows_at_all() -> None:
    assert all(np.isnan(v.value) and v.undefined_because for v in decision_metrics(Y[:0], Y[:0]).values())


def test_one_class_only_leaves_kappa_undefined() -> None:
    values = class_metrics(np.zeros(4, dtype=int), np.zeros(4, dtype=int), 3)
    assert values["accuracy"].value == 1
    assert values["balanced_accuracy"].value == 1
    assert values["cohen_kappa"].undefined_because == "agreement by chance is already complete"
