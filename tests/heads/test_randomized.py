from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from resight.errors import SettingsError
from resight.heads import CLASSIFIERS
from resight.heads.elm import ELM
from resight.heads.randomized import RandomizedNetwork, hidden_outputs
from resight.heads.rvfl import RVFL
from resight.heads.snn import SchmidtNetwork

NETWORKS = [ELM, RVFL, SchmidtNetwork]
ACTIVATIONS = ["sigmoid", "tanh", "relu", "sin", "hardlim", "rbf"]


def noisy(n: int = 300, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(n, 12, n_informative=5, n_classes=classes, flip_y=0.15, class_sep=0.8, random_state=seed)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "options", [{}, {"n_hidden": 40, "ridge": 0.1, "activation": "rbf"}, {"n_hidden": 20, "ridge": 0.0}]
)
def test_is_a_scikit_learn_estimator(network, options):
    check_estimator(network(**options), on_skip=None)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_output_weights_are_ridge_regression_on_the_published_design(network, activation):
    X, y = noisy(classes=3)
    model = network(n_hidden=30, ridge=0.5, activation=activation, random_state=1).fit(X, y)
    Z = StandardScaler().fit_transform(X)
    hidden = hidden_outputs(Z, model.hidden_weights_, model.hidden_bias_, activation)
    design = np.hstack([hidden, Z]) if network is RVFL else hidden
    targets = np.where(y[:, None] == np.arange(3), 1.0, -1.0)
    oracle = Ridge(alpha=0.5, fit_intercept=network is SchmidtNetwork).fit(design, targets)
    np.testing.assert_allclose(model.decision_function(X), oracle.predict(design), atol=1e-6)


def test_without_penalty_it_is_the_pseudo_inverse_of_the_paper():
    X, y = noisy()
    model = ELM(20, ridge=0, random_state=3).fit(X, y)
    H = 1 / (1 + np.exp(-(StandardScaler().fit_transform(X) @ model.hidden_weights_ + model.hidden_bias_)))
    np.testing.assert_allclose(model.decision_function(X), H @ np.linalg.pinv(H) @ np.where(y == 1, 1, -1), atol=1e-8)


@pytest.mark.parametrize("network", NETWORKS)
def test_learns_what_no_line_can(network, rng):
    X = rng.uniform(-1, 1, (400, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = network(100, weight_scale=3.0, random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.9


def test_of_several_penalties_the_smallest_left_out_error_wins():
    X, y = noisy(80)
    model = ELM(200, ridge=(1e-6, 1.0, 1e6), random_state=0).fit(X, y)
    assert model.ridge_ == 1.0
    assert model.loo_errors_.argmin() == 1
    single = ELM(200, ridge=1.0, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.decision_function(X), single.decision_function(X))


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_keep_the_order_and_fit_unseen_samples(classes):
    X, y = noisy(1200, classes)
    model = ELM(300, ridge=1e-2, random_state=0).fit(X[:300], y[:300])
    probabilities = model.predict_proba(X[300:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X[300:]))
    model.slope_ *= 4  # overconfident: what clipping raw outputs to probabilities would come to
    assert log_loss(y[300:], probabilities) < log_loss(y[300:], model.predict_proba(X[300:]))
    if classes == 2:
        scores = model.decision_function(X[300:])
        assert roc_auc_score(y[300:], scores) == roc_auc_score(y[300:], probabilities[:, 1])


def test_noise_gets_probabilities_near_one_half(rng):
    X, y = rng.standard_normal((100, 30)), rng.integers(0, 2, 100)
    probabilities = ELM(200, ridge=1e-2, random_state=0).fit(X, y).predict_proba(rng.standard_normal((50, 30)))
    assert np.abs(probabilities - 0.5).max() < 0.2


def test_balanced_classes_are_sample_weights_by_another_name():
    X, y = make_classification(300, 8, weights=[0.9], flip_y=0.05, random_state=2)
    balanced = ELM(30, ridge=1.0, class_weight="balanced", random_state=0).fit(X, y)
    given = ELM(30, ridge=1.0, class_weight={0: 300 / 2 / (y == 0).sum(), 1: 300 / 2 / (y == 1).sum()}, random_state=0)
    plain = ELM(30, ridge=1.0, random_state=0).fit(X, y)
    np.testing.assert_allclose(balanced.decision_function(X), given.fit(X, y).decision_function(X))
    assert (balanced.predict(X) == 1).sum() > (plain.predict(X) == 1).sum()


def test_hidden_weights_can_be_given(rng):
    X, y = noisy()
    W, b = rng.uniform(-1, 1, (12, 7)), rng.uniform(-1, 1, 7)
    model = SchmidtNetwork(999, hidden_weights=W, hidden_bias=b).fit(X, y)
    assert model.coef_.shape == (7, 1)
    np.testing.assert_array_equal(model.hidden_weights_, W)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_weights": np.ones((3, 4)), "hidden_bias": np.ones(4)}, r"expected \(12, hidden nodes\)"),
        ({"hidden_weights": np.ones((12, 4)), "hidden_bias": np.ones(5)}, r"expected \(4,\)"),
        ({"hidden_weights": np.ones((12, 4))}, "give both"),
        ({"ridge": -1.0}, "numbers >= 0"),
        ({"ridge": ()}, "numbers >= 0"),
        ({"n_hidden": 0}, "at least 1"),
        ({"activation": "swish"}, "known: sigmoid"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ELM(**options).fit(*noisy())


@pytest.mark.parametrize("options", [{"ridge": -1}, {"ridge": []}, {"weight_scale": 0}, {"activation": "swish"}])
def test_settings_are_checked_before_anything_is_fitted(options):
    with pytest.raises(SettingsError):
        CLASSIFIERS.build("elm", options, seed=0)


def test_auto_scale_keeps_nodes_out_of_saturation(rng):
    X, y = rng.standard_normal((200, 512)), rng.integers(0, 2, 200)
    model = ELM(100, random_state=0).fit(X, y)
    deviation = (StandardScaler().fit_transform(X) @ model.hidden_weights_).std()
    assert deviation == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", CLASSIFIERS.names())
def test_every_classifier_is_repeatable_ranks_and_ignores_units(name):
    X, y = noisy(240)
    options = {"trees": 50} if name == "random-forest" else {}
    model = CLASSIFIERS.build(name, options, seed=5)
    assert isinstance(model, RandomizedNetwork) or "standardscaler" in model.named_steps
    probabilities = cross_val_predict(model, X, y, cv=3, method="predict_proba")
    assert roc_auc_score(y, probabilities[:, 1]) > 0.7
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    again = CLASSIFIERS.build(name, options, seed=5).fit(X * 1024.0, y).predict_proba(X * 1024.0)
    np.testing.assert_allclose(model.fit(X, y).predict_proba(X), again, atol=1e-6)
