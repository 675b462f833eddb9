"""Scores of every few-shot method, against scikit-learn or written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from resight.fewshot import FEWSHOT


@pytest.fixture
def support(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seven labelled vectors of three classes, far from the origin, and five to judge."""
    return 3 + rng.normal(size=(7, 4)), np.array([0, 0, 1, 1, 1, 2, 2]), 3 + rng.normal(size=(5, 4))


def centred(features: np.ndarray, base: np.ndarray) -> np.ndarray:
    moved = features - base.mean(axis=0)
    return moved / np.sqrt((moved**2).sum(axis=1, keepdims=True))


def test_the_linear_probe_is_scikit_learns_logistic_regression(support) -> None:
    known, classes, asked = support
    found = FEWSHOT.build("linear_probe", {"penalty": 0.05}, base=known).scores(known, classes, asked, 3)
    theirs = LogisticRegression(C=1 / (0.05 * len(known)), tol=1e-8, max_iter=1000)
    theirs.fit(centred(known, known), classes)
    expected = theirs.predict_proba(centred(asked, known))
    np.testing.assert_allclose(softmax(found, axis=1), expected, atol=2e-4)


def test_prototypes_are_squared_distances_to_class_means(support) -> None:
    known, classes, asked = support
    found = FEWSHOT.build("prototype", base=known).scores(known, classes, asked, 3)
    means = [known[:2].mean(axis=0), known[2:5].mean(axis=0), known[5:].mean(axis=0)]
    np.testing.assert_allclose(found, [[-((one - mean) ** 2).sum() for mean in means] for one in asked])


def test_simpleshot_centres_by_the_base_images_and_scales_to_length_1(support) -> None:
    known, classes, asked = support
    found = FEWSHOT.build("simpleshot", base=known).scores(known, classes, asked, 3)
    plain = FEWSHOT.build("prototype", base=known)
    np.testing.assert_allclose(found, plain.scores(centred(known, known), classes, centred(asked, known), 3))


def test_the_cache_adds_votes_that_fade_with_the_cosine(support) -> None:
    known, _, asked = support
    method = FEWSHOT.build("cache", {"sharpness": 2.0, "blend": 0.5}, base=known)
    one_each, classes = known[[0, 2, 5]], np.arange(3)
    cosines = centred(asked, known) @ centred(one_each, known).T
    found = method.scores(one_each, classes, asked, 3)
    np.testing.assert_allclose(found, cosines + 0.5 * np.exp(-2.0 * (1 - cosines)))
    twice = method.scores(np.repeat(one_each, [3, 1, 1], axis=0), np.repeat(classes, [3, 1, 1]), asked, 3)
    np.testing.assert_allclose(twice, found, err_msg="a class with more images does not weigh more")
