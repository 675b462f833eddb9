"""Leaving a network early: by hand, against planted difficulty, and one clear line for budgets that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from resight.errors import SettingsError
from resight.evaluation import BudgetPoint, Budgets, Calibration, LabelCalibration, Trace, fit_points, leave, sureness

PLAIN = Calibration(task="multilabel", labels=(LabelCalibration(),) * 2)


def point(*margins: float | None, **changes) -> BudgetPoint:
    calibrations = (PLAIN,) * (len(margins) + 1)
    return BudgetPoint(**{"share": 0.5, "margins": margins, "calibrations": calibrations} | changes)


def test_sureness_is_the_distance_from_the_deciding_threshold_in_logits() -> None:
    p = np.array([[0.5, 0.1], [0.9, 0.5]])
    found = sureness(p, (0.5, 0.1), "multilabel")
    np.testing.assert_allclose(found, [[0, 0], [logit(0.9), -logit(0.1)]], atol=1e-12)


def test_sureness_of_classes_is_the_lead_of_the_likeliest() -> None:
    found = sureness(np.array([[0.6, 0.3, 0.1]]), (), "multiclass")
    np.testing.assert_allclose(found, np.full((1, 3), np.log(2)))


def test_each_label_is_decided_at_the_first_place_that_is_sure_and_the_image_leaves_with_the_last_label() -> None:
    logits = np.array(
        [
            [[3.0, -3.0], [9.0, 9.0], [9.0, 9.0]],  # both labels sure at once
            [[3.0, 0.1], [-9.0, -2.5], [9.0, 9.0]],  # the second label needs the second exit
            [[0.1, 0.1], [0.2, 0.2], [-1.0, 1.0]],  # neither exit is sure
        ]
    )
    trace = Trace(logits, np.tile([0.3, 0.6, 1.0], (3, 1)), np.array([0.05, 0.02]))
    left = leave(trace, point(2.0, 2.0), (0.5, 0.5), "multilabel")
    assert left.decided_at.tolist() == [[0, 0], [0, 1], [2, 2]]
    assert left.logits.tolist() == [[3.0, -3.0], [3.0, -2.5], [-1.0, 1.0]]
    np.testing.assert_allclose(left.probabilities, expit(left.logits))
    np.testing.assert_allclose(left.share, [0.35, 0.67, 1.07])


def test_an_exit_that_is_not_asked_costs_nothing() -> None:
    trace = Trace(np.full((1, 3, 2), 5.0), np.array([[0.3, 0.6, 1.0]]), np.array([0.05, 0.02]))
    assert leave(trace, point(None, 2.0), (0.5, 0.5), "multilabel").share == pytest.approx(0.62)
    assert leave(trace, point(None, None), (0.5, 0.5), "multilabel").share == pytest.approx(1.0)


def planted(seed: int = 0, n: int = 600):
    """The first exit knows half of the images well and is blind to the others; the end knows all."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (n, 1)).astype(float)
    easy = rng.random((n, 1)) < 0.5
    sign = 2 * targets - 1
    first = np.where(easy, 4 * sign, 0.0) + rng.normal(0, 1, (n, 1))
    last = 4 * sign + rng.normal(0, 1.5, (n, 1))
    logits = np.stack([first, last], axis=1)
    return Trace(logits, np.tile([0.4, 1.0], (n, 1)), np.array([0.02])), targets, easy[:, 0]


def test_half_of_the_images_being_easy_buys_a_third_of_the_work_for_nothing() -> None:
    trace, targets, _ = planted()
    known = np.ones(targets.shape, dtype=bool)
    points = fit_points([trace], targets, known, "binary", deciding=(0.5,), method="temperature")
    assert [p.share for p in points] == sorted(p.share for p in points)
    assert [p.log_loss for p in points] == sorted((p.log_loss for p in points), reverse=True)
    best = Budgets(deciding=(0.5,), whole_flops=1, points=points).choose(0.75, where="model")
    other, other_targets, other_easy = planted(seed=1)
    left = leave(other, best, (0.5,), "binary")
    assert left.share.mean() < 0.75
    assert np.mean(other_easy[left.left_at == 0]) > 0.95
    assert np.mean((left.probabilities > 0.5) == other_targets) > 0.98


def test_gates_that_cost_nothing_to_shut_are_shut() -> None:
    trace, targets, _ = planted()
    cheaper = Trace(trace.logits, trace.flops * 0.5, trace.exit_flops, gate_threshold=0.9)
    known = np.ones(targets.shape, dtype=bool)
    points = fit_points([trace, cheaper], targets, known, "binary", deciding=(0.5,), method="temperature")
    assert {p.gate_threshold for p in points} == {0.9}


def test_masked_targets_do_not_count() -> None:
    trace, targets, _ = planted()
    wrong, known = targets.copy(), np.ones(targets.shape, dtype=bool)
    wrong[:100], known[:100] = 1 - wrong[:100], False
    arguments = {"deciding": (0.5,), "method": "temperature"}
    masked = fit_points([trace], wrong, known, "binary", **arguments)
    wrong[:100] = np.nan
    assert masked == fit_points([trace], wrong, known, "binary", **arguments)


BUDGETS = Budgets(
    deciding=(0.5, 0.5),
    whole_flops=10,
    points=(point(share=0.4, refused=True, falls=("mass, sex F: sensitivity 0.9 becomes 0.6",)), point(share=0.7)),
)


@pytest.mark.parametrize(
    ("budget", "line"),
    [
        (0.0, "model: budget = 0; expected a share of the FLOPs above 0, at most 1"),
        (1.5, "model: budget = 1.5; expected a share of the FLOPs above 0, at most 1"),
        (float("nan"), "model: budget = nan; expected a share of the FLOPs above 0, at most 1"),
        (0.3, "model: budget = 0.3; expected at least 0.40, the least this model was fitted for"),
        (
            0.5,
            "model: budget = 0.5 is refused, for mass, sex F: sensitivity 0.9 becomes 0.6. Give at least 0.70.",
        ),
    ],
)
def test_what_no_budget_can_buy_is_said_in_one_line(budget: float, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        BUDGETS.choose(budget, where="model")
    assert str(caught.value) == line


def test_the_best_point_within_the_budget_is_taken() -> None:
    assert BUDGETS.choose(0.7, where="model").share == 0.7
    assert BUDGETS.choose(1.0, where="model").share == 0.7


def test_cheap_points_are_not_crowded_out_by_a_chain_of_close_ones() -> None:
    rng = np.random.default_rng(3)
    n = 400
    targets = rng.integers(0, 2, (n, 1)).astype(float)
    sign = 2 * targets - 1
    hard = rng.random((n, 1)) * 4  # sureness of the early places varies smoothly, so that many limits are of use
    logits = np.stack([sign * (4 - hard) + rng.normal(0, s, (n, 1)) for s in (2.0, 1.5, 1.0, 0.3)], axis=1)
    trace = Trace(logits, np.tile([0.3, 0.5, 0.75, 1.0], (n, 1)), np.array([0.01, 0.01, 0.01]))
    known = np.ones(targets.shape, dtype=bool)
    points = fit_points([trace], targets, known, "binary", deciding=(0.5,), method="temperature")
    shares = [p.share for p in points]
    assert shares[0] < 0.4
    assert len(points) > 5
    assert np.diff(shares).max() < 0.15
