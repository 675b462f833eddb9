from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import LeaveOneOut, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from resight.heads.elm import ELM
from resight.heads.rvfl import RVFL
from resight.heads.snn import SchmidtNetwork
from resight.training import hidden_search
from resight.training.bat_search import BatOptions
from resight.training.hidden_search import search_hidden

BATS = BatOptions(population=8, generations=6)


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X, y = make_classification(120, 6, n_informative=4, flip_y=0.1, random_state=3)
    return X, y, np.repeat(np.arange(40), 3)


def refitted_error(network, X, y, splits) -> float:
    """What the closed form claims, by fitting again and again."""
    Z = StandardScaler().fit_transform(X)
    targets = np.where(y == 1, 1.0, -1.0)
    squares = np.empty(len(y))
    design = network.design(Z, network.hidden_weights_, network.hidden_bias_)
    if network.output_bias:
        design = np.hstack([design, np.ones((len(Z), 1))])
    penalty = np.full(design.shape[1], network.ridge_)
    penalty[-1] *= not network.output_bias
    for train, out in splits:
        D, t = design[train], targets[train]
        squares[out] = (design[out] @ np.linalg.solve(D.T @ D + np.diag(penalty), D.T @ t) - targets[out]) ** 2
    return squares.mean()


@pytest.mark.parametrize("mode", ["all", "scales", "hyperparameters"])
@pytest.mark.parametrize("network", [ELM, RVFL, SchmidtNetwork])
def test_fitness_is_the_left_out_error_of_the_returned_network(mode, network, samples):
    X, y, _ = samples
    found = search_hidden(network(15, ridge=0.1, random_state=0), X, y, mode=mode, bats=BATS)
    assert found.fitness <= found.fitness_before
    assert found.fitness == pytest.approx(refitted_error(found.estimator, X, y, LeaveOneOut().split(X)), rel=1e-6)
    assert len(found.result.history) == 7


@pytest.mark.parametrize("ridge", [0.1, (1e-3, 1e-1, 10.0)])
def test_whole_patients_are_left_out(ridge, samples, monkeypatch):
    X, y, groups = samples
    seen = []
    folds = hidden_search._folds
    monkeypatch.setattr(hidden_search, "_folds", lambda *a: seen.append(folds(*a)) or seen[-1])
    found = search_hidden(ELM(15, ridge=ridge, random_state=0), X, y, groups, bats=BATS)
    assert all(len(np.unique(seen[0][groups == g])) == 1 for g in range(40))
    expected = refitted_error(found.estimator, X, y, PredefinedSplit(seen[0]).split())
    assert found.fitness == pytest.approx(expected, rel=1e-6)


def test_searching_helps_where_the_start_is_bad(rng):
    X = rng.uniform(-1, 1, (200, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    start = ELM(30, weight_scale=1e-3, bias_scale=1e-3, ridge=1e-2, random_state=0)
    found = search_hidden(start, X[:100], y[:100], mode="scales", bats=BATS)
    assert found.fitness < 0.7 * found.fitness_before
    assert found.estimator.score(X[100:], y[100:]) > clone(start).fit(X[:100], y[:100]).score(X[100:], y[100:]) + 0.2


def test_a_layer_that_the_search_cannot_reach_is_kept_where_nothing_better_is_found(rng):
    X = rng.normal(size=(120, 40))
    y = (X[:, 0] > 0).astype(int)
    telling = np.zeros((40, 1))
    telling[0] = 3.0  # scales only stretch layers drawn anew, and one random node sees little of the first feature
    start = ELM(1, ridge=1e-3, hidden_weights=telling, hidden_bias=np.zeros(1), random_state=0)
    found = search_hidden(start, X, y, mode="scales", bats=BATS)
    assert found.result.value > found.fitness_before
    assert found.fitness == found.fitness_before
    np.testing.assert_array_equal(found.estimator.hidden_weights_, telling)


def test_the_given_estimator_is_left_alone_and_the_seed_decides(samples):
    X, y, _ = samples
    start = ELM(15, ridge=0.1)
    runs = [search_hidden(start, X, y, bats=BATS, seed=s) for s in (1, 1, 2)]
    assert start.hidden_weights is None
    assert not hasattr(start, "coef_")
    np.testing.assert_array_equal(runs[0].estimator.coef_, runs[1].estimator.coef_)
    assert runs[0].fitness != runs[2].fitness


def test_the_share_of_wrong_classes_can_be_searched_for(samples):
    X, y, _ = samples
    found = search_hidden(ELM(15, ridge=0.1, random_state=0), X, y, bats=BATS, criterion="wrong")
    assert (found.fitness * len(y)) == pytest.approx(round(found.fitness * len(y)))


def test_three_classes_and_class_weights(rng):
    X = rng.standard_normal((90, 4))
    y = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    network = ELM(20, ridge=0.1, class_weight="balanced", random_state=0)
    found = search_hidden(network, X, y, bats=BATS, criterion="wrong")
    assert found.fitness < 0.5
    assert found.estimator.predict_proba(X).shape == (90, 3)


def test_too_few_patients_for_the_folds(samples):
    X, y, groups = samples
    with pytest.raises(ValueError, match="41 folds"):
        search_hidden(ELM(5, random_state=0), X, y, groups, bats=BATS, folds=41)
