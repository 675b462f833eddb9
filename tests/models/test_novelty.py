from __future__ import annotations

import numpy as np
import pytest

from resight.errors import BundleError, DataError
from resight.evaluation import auroc
from resight.models import Novelty


def world(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    """Features of 200 dimensions that really move in 10 of them."""
    mixing = np.random.default_rng(1).normal(size=(10, 200))
    features = rng.normal(size=(count, 10)) @ mixing + 0.1 * rng.normal(size=(count, 200))
    features[:, 7] += shift
    return features.astype(np.float32)


def test_held_out_images_spread_evenly_and_foreign_ones_lie_outside(rng: np.random.Generator) -> None:
    novelty = Novelty.fit(world(rng, 400), world(rng, 300))
    known = novelty.share_nearer(world(rng, 1000))
    foreign = novelty.share_nearer(world(rng, 200, shift=3.0))
    assert 0.4 < known.mean() < 0.6
    assert (foreign > 0.99).mean() > 0.99
    scores, targets = np.concatenate([known, foreign]), np.repeat([0, 1], [1000, 200])
    assert auroc(targets, scores).value > 0.98


def test_fewer_images_than_features_still_measure(rng: np.random.Generator) -> None:
    novelty = Novelty.fit(world(rng, 20), world(rng, 20))
    assert np.isfinite(novelty.distance(world(rng, 5))).all()


def test_it_travels_as_safetensors(rng: np.random.Generator) -> None:
    novelty = Novelty.fit(world(rng, 50), world(rng, 50))
    again = Novelty.from_bytes(novelty.to_bytes(), "here")
    probe = world(rng, 10)
    np.testing.assert_array_equal(again.share_nearer(probe), novelty.share_nearer(probe))
    with pytest.raises(BundleError, match="not the novelty"):
        Novelty.from_bytes(b"nonsense", "here")


@pytest.mark.parametrize(("training", "held_out"), [(2, 10), (10, 0)])
def test_too_few_images_are_refused(training: int, held_out: int, rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="at least"):
        Novelty.fit(world(rng, training), world(rng, held_out))


def test_features_that_are_not_finite_are_refused(rng: np.random.Generator) -> None:
    bad = world(rng, 10)
    bad[3, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        Novelty.fit(bad, world(rng, 10))


def test_coordinates_are_those_of_training_images_in_standard_deviations(rng: np.random.Generator) -> None:
    training = world(rng, 400)
    novelty = Novelty.fit(training, world(rng, 50))
    places = novelty.coordinates(training)
    assert places.shape == (400, novelty.watched) == (400, 8)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(places.T), np.eye(8), atol=1e-3)
    few = Novelty.fit(world(rng, 7), world(rng, 5))
    assert few.coordinates(world(rng, 3)).shape == (3, few.watched) == (3, 3)
