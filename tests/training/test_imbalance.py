"""Weights and sampling for rare labels."""

import numpy as np

from resight.training.imbalance import positive_weights, sampling_weights


def test_positive_weight_is_negatives_per_positive_among_known() -> None:
    targets = np.array([[1, 0], [0, 0], [0, 0], [0, np.nan]], dtype=float)
    weights = positive_weights(targets, ~np.isnan(targets), "multilabel").numpy()
    assert weights.tolist() == [3.0, 1.0]  # no positives of the second label: nothing to weigh


def test_class_weights_even_the_classes_out() -> None:
    targets = np.eye(3)[[0] * 6 + [1] * 3 + [2]]
    weights = positive_weights(targets, np.ones_like(targets, bool), "multiclass").numpy()
    np.testing.assert_allclose(weights * targets.sum(axis=0), 10 / 3, rtol=1e-6)


def test_a_handful_of_positives_is_capped() -> None:
    targets = np.zeros((1000, 1))
    targets[0] = 1
    assert positive_weights(targets, np.ones_like(targets, bool), "binary").item() == 20.0


def test_balanced_sampling_draws_both_classes_equally_often() -> None:
    targets = np.zeros((100, 1))
    targets[:20] = 1
    weights = sampling_weights(targets, np.ones_like(targets, bool))
    assert np.isclose(weights[:20].sum(), weights[20:].sum())


def test_unknown_labels_do_not_raise_the_chance() -> None:
    targets = np.array([[1.0], [0.0], [0.0], [np.nan]])
    weights = sampling_weights(targets, ~np.isnan(targets))
    assert weights[3] <= weights[:3].min()
