"""Thresholds do what their rule says, on the data they were chosen on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.errors import PredictionsError, SettingsError
from resight.evaluation import OperatingPoint, OperatingRule, choose_operating_points, decide, decision_metrics
from resight.settings import validate

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(positive for positive, _ in rows) < len(rows)
)


def choose(y: np.ndarray, p: np.ndarray, rule: OperatingRule) -> OperatingPoint:
    return choose_operating_points(p[:, None], y[:, None], np.ones((len(y), 1), dtype=bool), ["L"], [rule])[0]


def rates(y: np.ndarray, p: np.ndarray, threshold: float) -> tuple[float, float]:
    values = decision_metrics(y, p >= threshold)
    return values["sensitivity"].value, values["specificity"].value


@settings(deadline=None)
@given(ROWS, st.sampled_from(["youden", "sensitivity", "specificity", "cost", "threshold"]), st.floats(0.05, 1))
def test_rates_are_those_of_the_threshold_and_no_other_does_better(
    rows: list[tuple[bool, int]], kind: str, value: float
) -> None:
    y, p = np.array([float(a) for a, _ in rows]), np.array([b / 20 for _, b in rows])
    rule = OperatingRule(kind=kind, value=None if kind == "youden" else value)
    point = choose(y, p, rule)
    assert (point.sensitivity, point.specificity) == pytest.approx(rates(y, p, point.threshold))
    every = [rates(y, p, t) for t in [*np.unique(p), 1.1]]
    if kind == "youden":
        assert sum(rates(y, p, point.threshold)) == pytest.approx(max(a + b for a, b in every))
    elif kind in ("sensitivity", "specificity"):
        turn = 1 if kind == "sensitivity" else -1
        kept, other = (point.sensitivity, point.specificity)[::turn]
        assert kept >= value - 1e-9
        if both := [a + b for a, b in every if min(a, b) >= value - 1e-9]:
            assert kept + other == pytest.approx(max(both))
        else:
            assert other == pytest.approx(max(b for a, b in (pair[::turn] for pair in every) if a >= value - 1e-9))
    elif kind == "cost":
        m, n = y.sum(), (1 - y).sum()
        spent = [value * m * (1 - a) + n * (1 - b) for a, b in every]
        assert value * m * (1 - point.sensitivity) + n * (1 - point.specificity) == pytest.approx(min(spent), abs=1e-6)


def test_the_threshold_lies_between_scores_so_that_rounding_does_not_matter() -> None:
    y, p = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.3, 0.6, 0.7])
    assert choose(y, p, OperatingRule()).threshold == pytest.approx(0.45)
    close = np.array([0.1, 0.3, np.nextafter(0.3, 1), 0.7])
    threshold = choose(y, close, OperatingRule()).threshold
    assert rates(y, close, threshold) == (1, 1)


@settings(deadline=None)
@given(ROWS, st.floats(0.05, 1))
def test_a_kept_sensitivity_is_never_less_sensitive_than_a_kept_specificity(
    rows: list[tuple[bool, int]], value: float
) -> None:
    y, p = np.array([float(a) for a, _ in rows]), np.array([b / 20 for _, b in rows])
    first, second = (choose(y, p, OperatingRule(kind=kind, value=value)) for kind in ("sensitivity", "specificity"))
    assert first.threshold <= second.threshold
    assert first.sensitivity >= second.sensitivity


def test_images_told_apart_without_fault_have_one_threshold() -> None:
    y, p = np.repeat([0.0, 1.0], 40), np.arange(80) / 80
    for kind in ("sensitivity", "specificity"):
        point = choose(y, p, OperatingRule(kind=kind, value=0.95))
        assert (point.sensitivity, point.specificity, point.threshold) == (1, 1, pytest.approx(39.5 / 80))


def test_what_cannot_be_reached_is_said() -> None:
    y, p = np.array([0.0, 1, 1]), np.array([0.9, 0.2, 0.1])
    point = choose(y, p, OperatingRule(kind="sensitivity", value=0.9))
    assert (point.sensitivity, point.specificity) == (1, 0)
    assert point.note == "only calling everything positive reaches it"
    point = choose(y, p, OperatingRule(kind="specificity", value=0.9))
    assert (point.sensitivity, point.specificity) == (0, 1)
    assert point.note == "only calling nothing positive reaches it"
    assert not (p >= point.threshold).any()
    assert point.threshold > 1
    assert choose(y, p, OperatingRule()).note == "no threshold is better than chance"
    point = choose(np.zeros(3), p, OperatingRule())
    assert (point.threshold, point.sensitivity) == (0.5, None)
    assert point.note == "0 positives, 3 negatives: 0.5 taken"


def test_masked_rows_and_soft_targets_do_not_count(rng: np.random.Generator) -> None:
    p, y = rng.random((60, 2)), (rng.random((60, 2)) < 0.5).astype(float)
    mask = np.ones((60, 2), dtype=bool)
    rules = [OperatingRule(), OperatingRule(kind="sensitivity", value=0.8)]
    clean = choose_operating_points(p[:40], y[:40], mask[:40], ["a", "b"], rules)
    mask[40:50], y[50:] = False, 0.5
    assert choose_operating_points(p, y, mask, ["a", "b"], rules) == clean
    assert [(c.name, c.label) for c in clean] == [
        ("youden", "a"), ("youden", "b"), ("sensitivity 0.8", "a"), ("sensitivity 0.8", "b"),
    ]  # fmt: skip
    assert {c.chosen_on for c in clean} == {"validation"}


def test_json_and_decisions(rng: np.random.Generator) -> None:
    p, y = rng.random((60, 2)), (rng.random((60, 2)) < 0.5).astype(float)
    points = choose_operating_points(p, y, np.ones((60, 2), dtype=bool), ["a", "b"], [OperatingRule(name="screen")])
    assert [OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict()))) for point in points] == list(points)
    p[0, 0] = np.nan
    found = decide(p[:, ::-1], ["b", "a"], points, "screen")
    assert np.isnan(found[0, 1])
    np.testing.assert_array_equal(found[1:, 0], p[1:, 1] >= points[1].threshold)
    with pytest.raises(PredictionsError, match="Did you mean 'screen'"):
        decide(p, ["a", "b"], points, "screne")
    with pytest.raises(PredictionsError, match="no threshold for label 'c'"):
        decide(p, ["a", "c"], points, "screen")


@pytest.mark.parametrize("wrong", [{"kind": "sensitivity"}, {"value": 0.9}, {"kind": "specificity", "value": 1.2}])
def test_impossible_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"at most 1|a value for every kind but youden"):
        validate(OperatingRule, wrong, where="rules")


def test_rules_of_one_name_and_wrong_shapes_are_refused() -> None:
    p = np.zeros((2, 1))
    with pytest.raises(SettingsError, match="different names"):
        choose_operating_points(p, p, p > 0, ["a"], [OperatingRule(), OperatingRule()])
    with pytest.raises(SettingsError, match=r"expected \(N, 2\)"):
        choose_operating_points(p, p, p > 0, ["a", "b"], [OperatingRule()])
