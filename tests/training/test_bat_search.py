from __future__ import annotations

import numpy as np
import pytest

from resight.training.bat_search import BatOptions, BatSearch, minimize, random_search
from resight.training.chaotic_maps import MAP_NAMES, ChaoticSequence

LOW, HIGH = np.full(6, -4.0), np.full(6, 5.0)
VARIANTS = ["plain", "1", "2", "3", "4"]


def shifted_sphere(positions: np.ndarray) -> np.ndarray:
    return ((positions - 1.5) ** 2).sum(axis=1)


@pytest.mark.parametrize("name", MAP_NAMES)
def test_orbits_fill_their_range_and_never_stop(name):
    values = ChaoticSequence(name).take(20_000)
    assert values.min() >= 0
    assert values.max() <= 1
    assert len(np.unique(values[-5000:])) > 4000
    assert np.ptp(values) > 0.4


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("logistic", 0.84),
        ("sine", np.sin(np.pi * 0.7)),
        ("sinusoidal", 2.3 * 0.49 * np.sin(np.pi * 0.7)),
        ("gauss", 3 / 7),
        ("piecewise", 0.75),
        ("bernoulli", 0.25),
    ],
)
def test_maps_are_the_published_ones(name, following):
    assert ChaoticSequence(name).take(2)[1] == pytest.approx(following, abs=2e-6)


def test_an_orbit_continues_where_it_stopped():
    one, two = ChaoticSequence("tent"), ChaoticSequence("tent")
    np.testing.assert_array_equal(one.take(30), np.concatenate([two.take(10), two.take(20)]))


def test_an_orbit_that_lands_on_a_border_goes_on():
    values = ChaoticSequence("logistic", start=0.5).take(100)  # 0.5 -> 1 -> 0 -> 0 -> ...
    assert len(np.unique(values)) == 100


def test_starts_outside_are_refused():
    with pytest.raises(ValueError, match="inside"):
        ChaoticSequence("logistic", start=1.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_finds_a_minimum_and_beats_random_search(variant):
    result = minimize(shifted_sphere, LOW, HIGH, BatOptions(variant=variant, generations=60), seed=1)
    random = random_search(shifted_sphere, LOW, HIGH, evaluations=result.evaluations, seed=1)
    assert result.evaluations == random.evaluations == 61 * 20
    assert result.value < 0.1 < random.value
    assert result.value == shifted_sphere(result.position[None])[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_positions_stay_inside_and_the_best_never_gets_worse(variant):
    seen: list[np.ndarray] = []

    def objective(positions: np.ndarray) -> np.ndarray:
        seen.append(positions.copy())
        return -positions.sum(axis=1)  # pulls every bat into a corner

    result = minimize(objective, LOW, HIGH, BatOptions(variant=variant), seed=0)
    everything = np.concatenate(seen)
    assert (everything >= LOW).all()
    assert (everything <= HIGH).all()
    best = [generation.best for generation in result.history]
    assert best == sorted(best, reverse=True)
    assert best[-1] == result.value == -everything.sum(axis=1).max()
    assert [g.evaluations for g in result.history] == list(range(20, 20 * 52, 20))


def test_same_seed_same_search_other_seed_another():
    runs = [minimize(shifted_sphere, LOW, HIGH, BatOptions(generations=5), seed=s) for s in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0].position, runs[1].position)
    assert runs[0].history == runs[1].history
    assert runs[0].value != runs[2].value


def test_variants_and_maps_make_a_difference():
    values = {
        minimize(shifted_sphere, LOW, HIGH, BatOptions(generations=10, variant=v, chaotic_map=m), seed=0).value
        for v in VARIANTS[1:]
        for m in ("sinusoidal", "gauss")
    }
    assert len(values) == 8


def test_ask_and_tell_is_the_same_as_minimize():
    search = BatSearch(LOW, HIGH, BatOptions(generations=7), seed=2)
    for _ in range(8):
        search.tell(shifted_sphere(search.ask()))
    assert search.best_value == minimize(shifted_sphere, LOW, HIGH, BatOptions(generations=7), seed=2).value


def test_improving_bats_get_quieter_and_their_pulse_rate_rises():
    result = minimize(shifted_sphere, LOW, HIGH, BatOptions(variant="plain", generations=80), seed=0)
    first, last = result.history[0], result.history[-1]
    assert first.loudness == pytest.approx(0.95)
    assert first.pulse_rate == 0
    assert last.loudness < first.loudness
    assert 0 < last.pulse_rate <= 0.5


def test_a_known_position_is_never_lost():
    known = np.full(6, 1.5)
    assert minimize(shifted_sphere, LOW, HIGH, BatOptions(generations=1), seed=0, first=known).value == 0


def test_undefined_values_are_worst():
    def objective(positions: np.ndarray) -> np.ndarray:
        return np.where(positions[:, 0] < 0, np.nan, shifted_sphere(positions))

    assert minimize(objective, LOW, HIGH, BatOptions(generations=20), seed=0).position[0] >= 0
    nothing = random_search(lambda p: np.full(len(p), np.nan), LOW, HIGH, evaluations=10, seed=0)
    assert nothing.value == np.inf


def test_random_search_spends_exactly_what_it_may():
    result = random_search(shifted_sphere, LOW, HIGH, evaluations=33, batch=20, seed=0)
    assert [g.evaluations for g in result.history] == [20, 33]


@pytest.mark.parametrize(
    ("low", "high", "message"), [([0, 0], [1], "one length"), ([0, 1], [1, 1], "not below"), ([[0]], [[1]], "vectors")]
)
def test_impossible_bounds_are_refused(low, high, message):
    with pytest.raises(ValueError, match=message):
        BatSearch(np.array(low), np.array(high), BatOptions(), seed=0)


def test_one_value_per_position():
    search = BatSearch(LOW, HIGH, BatOptions(), seed=0)
    search.ask()
    with pytest.raises(ValueError, match="expected"):
        search.tell(np.zeros(3))
