from __future__ import annotations

import json
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.evaluation.reported import (
    Interval,
    Outcome,
    even_folds,
    matching_counts,
    matching_folds,
    possible_auroc,
    printed,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "mlscorecheck_verdicts.json").read_text())


def rates_of(tp: int, tn: int, p: int, n: int) -> dict[str, Fraction]:
    """Every rate that is defined."""
    fp, fn = n - tn, p - tp
    pairs = {
        "accuracy": (tp + tn, p + n),
        "sensitivity": (tp, p),
        "specificity": (tn, n),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }
    rates = {name: Fraction(a, b) for name, (a, b) in pairs.items() if b}
    return {**rates, "balanced_accuracy": (rates["sensitivity"] + rates["specificity"]) / 2}


def as_printed(rates: dict[str, str]) -> dict[str, Interval]:
    return {name: printed(text) for name, text in rates.items()}


@pytest.mark.parametrize(
    ("text", "rounding", "low", "high"),
    [
        ("0.955", "nearest", "0.9545", "0.9555"),
        ("95.5%", "nearest", "0.9545", "0.9555"),
        ("95.50 %", "nearest", "0.95495", "0.95505"),
        ("94%", "nearest", "0.935", "0.945"),
        ("1", "nearest", "0.5", "1.5"),
        ("0.95", "truncated", "0.95", "0.96"),
    ],
)
def test_a_printed_rate_is_an_interval(text, rounding, low, high):
    assert printed(text, rounding) == Interval(Fraction(low), Fraction(high))


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError):
        printed("high")


@settings(max_examples=60, deadline=None)
@given(p=st.integers(1, 9), n=st.integers(1, 9), data=st.data(), decimals=st.integers(1, 3))
def test_matches_are_those_of_trying_everything(p, n, data, decimals):
    truth = rates_of(data.draw(st.integers(0, p)), data.draw(st.integers(0, n)), p, n)
    names = data.draw(st.sets(st.sampled_from(sorted(truth)), min_size=1))
    off = data.draw(st.sampled_from([0, 0, 1]))
    rates = as_printed({name: f"{float(truth[name]) + off * 10**-decimals:.{decimals}f}" for name in names})
    expected = {
        (tp, tn)
        for tp, tn in product(range(p + 1), range(n + 1))
        if all(
            name in (found := rates_of(tp, tn, p, n)) and rates[name].low <= found[name] <= rates[name].high
            for name in names
        )
    }
    assert {(m.true_positives, m.true_negatives) for m in matching_counts(rates, p, n)} == expected


@pytest.mark.parametrize("case", GOLDEN["test_sets"])
def test_agrees_with_mlscorecheck_on_test_sets(case):
    found = matching_counts(as_printed(case["rates"]), case["positives"], case["negatives"])
    assert bool(found) == case["consistent"]


@pytest.mark.parametrize("case", GOLDEN["folds"])
def test_agrees_with_mlscorecheck_on_means_over_folds(case):
    found = matching_folds(as_printed(case["rates"]), [tuple(fold) for fold in case["folds"]])
    assert (found is not None) == case["consistent"]


def test_a_mean_over_folds_can_be_what_no_single_test_set_gives():
    rates = as_printed({"sensitivity": "0.4167"})  # (1/2 + 1/3) / 2 of two and three positives
    assert not matching_counts(rates, 5, 5)
    assert matching_folds(rates, [(2, 2), (3, 3)]) == Outcome(2, 0, 5, 5)


def test_repeated_cross_validation_of_a_published_table():
    """Lu et al. 2017, 132 brain images, ten times ten folds: 98.33 %, 99.04 %, 93.89 % fit 114 and 18 images pooled."""
    rates = as_printed({"accuracy": "98.33%", "sensitivity": "99.04%", "specificity": "93.89%"})
    assert matching_folds(rates, [(114, 18)] * 10) == Outcome(1129, 169, 1140, 180)
    assert matching_folds(rates, even_folds(114, 18, 10, repeats=10)) is None


def test_even_folds_are_stratified_and_of_one_size():
    folds = even_folds(23, 12, 5, repeats=2)
    assert len(folds) == 10
    assert sum(p for p, _ in folds) == 46
    assert sum(n for _, n in folds) == 24
    assert {p + n for p, n in folds} == {7}


def test_auroc_through_an_operating_point():
    sensitivity, specificity = printed("0.94"), printed("0.97")
    exact = possible_auroc(Interval(Fraction("0.94"), Fraction("0.94")), Interval(Fraction("0.97"), Fraction("0.97")))
    assert exact == Interval(Fraction("0.9118"), Fraction("0.9982"))
    wider = possible_auroc(sensitivity, specificity)
    assert wider.low < exact.low < exact.high < wider.high


@pytest.mark.parametrize(
    ("rates", "counts", "message"),
    [({"recall": "0.5"}, (5, 5), "expected some of"), ({}, (5, 5), "none"), ({"accuracy": "1.0"}, (0, 5), "at least")],
)
def test_impossible_questions_are_refused(rates, counts, message):
    with pytest.raises(ValueError, match=message):
        matching_counts(as_printed(rates), *counts)
    with pytest.raises(ValueError, match=message):
        matching_folds(as_printed(rates), [counts])


def test_precision_over_folds_is_not_linear():
    with pytest.raises(ValueError, match="ppv"):
        matching_folds(as_printed({"ppv": "0.5"}), [(3, 3)])
