"""The arithmetic of putting updates together, by hand and against its definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resight.errors import TrainingError
from resight.federated.aggregate import AdaptiveStep, divided, median, norm, problem, stack, trimmed_mean, weighted_sum
from resight.federated.base import STRATEGIES, Updates


def updates(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"w": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)} for _ in range(count)]


@given(st.integers(1, 6), st.integers(0, 1000))
def test_the_mean_by_cases_is_that_of_all_cases_laid_side_by_side(count: int, seed: int) -> None:
    given_ = updates(count, seed)
    cases = np.random.default_rng(seed).integers(1, 9, count)
    mean = divided(weighted_sum(given_, cases), cases.sum())
    repeated = np.concatenate([np.repeat(u["w"][None], n, axis=0) for u, n in zip(given_, cases, strict=True)])
    assert np.allclose(mean["w"], repeated.mean(axis=0), rtol=0, atol=1e-12)


def test_nobody_with_any_weight_is_an_error() -> None:
    with pytest.raises(TrainingError, match="add up to 0"):
        divided({"w": np.ones(2)}, 0.0)


def test_median_and_trimmed_mean_do_not_follow_one_liar() -> None:
    stacked = np.array([[1.0, 2.0], [1.2, 2.2], [0.8, 1.8], [1e9, -1e9], [1.0, 2.1]])
    assert np.allclose(median(stacked), [1.0, 2.0])
    assert np.allclose(trimmed_mean(stacked, 0.2), [(1 + 1 + 1.2) / 3, (1.8 + 2 + 2.1) / 3])
    assert np.allclose(trimmed_mean(stacked, 0.0), stacked.mean(axis=0))


def test_trimming_everybody_is_an_error() -> None:
    with pytest.raises(TrainingError, match="leaves none"):
        trimmed_mean(np.ones((2, 3)), 0.5)


@pytest.mark.parametrize("signed", [False, True])
def test_two_adaptive_steps_by_hand(signed: bool) -> None:
    step = AdaptiveStep(rate=0.1, beta1=0.9, beta2=0.99, floor=0.01, signed=signed)
    first, second = 0.0, 0.01**2
    for update in (0.5, -0.2):
        first = 0.9 * first + 0.1 * update
        if signed:
            second = second - 0.01 * update**2 * np.sign(second - update**2)
        else:
            second = 0.99 * second + 0.01 * update**2
        found = step("w", np.array([update]))
        assert found[0] == pytest.approx(0.1 * first / (np.sqrt(second) + 0.01), rel=1e-12)


def test_what_is_wrong_with_an_update_is_said() -> None:
    like = {"w": np.zeros((2, 2), np.float32)}
    assert problem({"w": np.ones((2, 2), np.float32)}, like) == ""
    assert "lacks 'w'" in problem({}, like)
    assert "nobody asked for" in problem({**like, "x": np.ones(1)}, like)
    assert "shape (2,)" in problem({"w": np.ones(2, np.float32)}, like)
    assert "int64" in problem({"w": np.ones((2, 2), np.int64)}, like)
    assert "1 values that are not finite" in problem({"w": np.array([[1, np.nan], [0, 0]], np.float32)}, like)


def test_norm_is_over_all_arrays() -> None:
    assert norm({"a": np.array([3.0]), "b": np.array([[4.0]])}) == 5.0
    assert stack(updates(4))["w"].shape == (4, 3, 2)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_moves_the_shared_weights_when_all_sites_agree(name: str) -> None:
    strategy = STRATEGIES.build(name)
    shared = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    same = [{"w": np.ones((3, 2)), "b": np.full(2, -1.0)}] * 3
    after = strategy.combine(shared, Updates.of(same, [0.2, 0.3, 0.5], 3))
    assert after.keys() == shared.keys()
    assert all(after[key].dtype == shared[key].dtype for key in after)
    assert (after["w"] > 0).all()
    assert (after["b"] < 0).all()


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_strategy_that_was_stopped_and_restored_goes_on_alike(name: str) -> None:
    shared = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    rounds = [Updates.of(updates(3, seed), [1.0, 2.0, 3.0], 3) for seed in range(3)]
    whole, stopped = STRATEGIES.build(name), STRATEGIES.build(name)
    expected = found = shared
    for number, one in enumerate(rounds):
        expected = whole.combine(expected, one)
        if number == 2:
            kept = {key: array.copy() for key, array in stopped.state().items()}
            stopped = STRATEGIES.build(name)
            stopped.restore(kept)
        found = stopped.combine(found, one)
    assert all(np.array_equal(expected[key], found[key]) for key in expected)
