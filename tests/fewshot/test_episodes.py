"""Planted classes: every method beats chance by far, patients stay apart, and what cannot be drawn is said."""

from __future__ import annotations

import numpy as np
import pytest

from resight.errors import CohortError, SettingsError
from resight.fewshot import FEWSHOT, EpisodeOptions, draw_episode, rare_labels, run_episodes

PATIENTS, IMAGES_EACH, FEATURES = 90, 3, 16


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes with means apart; images of one patient are nearly alike, so a leak would give all away."""
    rng = np.random.default_rng(0)
    means = 1.2 * rng.normal(size=(3, FEATURES))
    of_patient = np.repeat(np.arange(PATIENTS), IMAGES_EACH)
    classes = of_patient % 3
    personal = 1.5 * rng.normal(size=(PATIENTS, FEATURES))
    features = means[classes] + personal[of_patient] + 0.1 * rng.normal(size=(len(classes), FEATURES))
    return features, classes, np.array([f"p{i}" for i in of_patient], dtype=object)


@pytest.mark.parametrize("name", FEWSHOT.names())
def test_every_method_learns_from_five(name: str, world) -> None:
    features, classes, patients = world
    options = EpisodeOptions(ways=3, shots=5, episodes=60)
    found = run_episodes(name, features, classes, patients, options, base=features)
    assert found.accuracy.low > found.chance + 0.1
    assert found.auroc.low > 0.6
    again = run_episodes(name, features, classes, patients, options, base=features)
    assert again.accuracy.value == found.accuracy.value


@pytest.mark.parametrize("name", FEWSHOT.names())
def test_the_order_of_the_support_does_not_matter_and_shots_help(name: str, world) -> None:
    features, classes, patients = world
    method = FEWSHOT.build(name, base=features)
    rng = np.random.default_rng(1)
    rows = rng.choice(len(classes), 20, replace=False)
    scores = method.scores(features[rows], classes[rows], features[:9], 3)
    order = rng.permutation(20)
    np.testing.assert_allclose(
        method.scores(features[rows[order]], classes[rows[order]], features[:9], 3), scores, rtol=1e-3, atol=1e-3
    )
    one, ten = (
        run_episodes(name, features, classes, patients, EpisodeOptions(ways=3, shots=s, episodes=80), base=features)
        for s in (1, 10)
    )
    assert ten.accuracy.value > one.accuracy.value


def test_patients_of_support_and_query_are_apart_and_shots_are_of_different_patients(world) -> None:
    _, classes, patients = world
    for number in range(50):
        episode = draw_episode(classes, patients, EpisodeOptions(ways=2, shots=4), number)
        assert not set(patients[episode.support]) & set(patients[episode.query])
        assert len(set(patients[episode.support])) == 8
        assert (np.bincount(episode.support_classes) == 4).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ways": 4}, "images of 3 classes; expected 4"),
        ({"shots": 31}, "30 patients of one class; expected 31 shots"),
        ({"shots": 30}, "no patient beside those of the support"),
    ],
)
def test_episodes_that_cannot_be_drawn_say_why(options: dict[str, int], said: str, world) -> None:
    _, classes, patients = world
    with pytest.raises(CohortError, match=said):
        draw_episode(classes, patients, EpisodeOptions(**options), 0)


def test_a_support_of_one_class_is_refused(world) -> None:
    _, classes, patients = world
    with pytest.raises(CohortError, match="images of one class only"):
        draw_episode(np.where(classes == 0, 0, -1), patients, EpisodeOptions(), 0)


def test_unknown_methods_are_named(world) -> None:
    features, classes, patients = world
    with pytest.raises(SettingsError, match="Did you mean 'simpleshot'"):
        run_episodes("simpleshots", features, classes, patients, EpisodeOptions(), base=features)


def test_rare_labels_are_found_from_a_few_and_rarer_ones_are_not_estimable(world) -> None:
    features, classes, patients = world
    targets = np.stack([classes == 0, np.arange(len(classes)) < 4], axis=1).astype(float)
    found = rare_labels(
        "simpleshot", features, targets, ("first", "nearly never"), patients, shots=5, draws=30, base=features
    )
    assert found[0].auroc.low > 0.65
    assert found[1].auroc.undefined_because == (
        "4 positive images of 2 patients: too few for 5 shots and others to judge"
    )
    with pytest.raises(CohortError, match="shots = 0"):
        rare_labels("cache", features, targets, ("a", "b"), patients, shots=0, draws=30, base=features)


def test_patients_with_both_serve_as_positives_and_are_what_limits() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 3)
    targets = ((patients < 8) & (np.arange(120) % 3 == 0)).astype(float)[:, None]  # each ill one has two normal images
    features = rng.normal(size=(120, 6)) + 3 * targets
    options = {"draws": 20, "base": features}
    found = rare_labels("simpleshot", features, targets, ("rare",), patients, shots=7, **options)
    assert found[0].auroc.n > 12, "negatives drawn first take so many of the eight away that about 4 draws are left"
    found = rare_labels("simpleshot", features, targets, ("rare",), patients, shots=8, **options)
    assert "8 positive images of 8 patients" in found[0].auroc.undefined_because


def test_rare_labels_are_judged_on_other_patients_than_those_shown() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 6)
    features = rng.normal(size=(30, 40))[patients]  # all images of a patient are the same, and say nothing of the label
    targets = (patients % 2 == 0).astype(float)[:, None]
    found = rare_labels("simpleshot", features, targets, ("none",), patients, shots=5, draws=100, base=features)
    assert abs(found[0].auroc.value - 0.5) < 0.1
