"""Probes find what was put into features and scores, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from resight.fairness import probe_features, score_links
from resight.predictions import Predictions

Draw = Callable[..., Predictions]


def test_what_was_put_into_features_is_read_and_nothing_else(draw: Draw, rng: np.random.Generator) -> None:
    images = draw(0, patients=200).images()
    features = rng.normal(size=(len(images), 20))
    features[:, 3] += 1.5 * (images["sex"] == "F")
    found = {probe.attribute: probe.auroc for probe in probe_features(features, images, ("sex", "view"))}
    assert found["sex"].low > 0.7
    assert found["view"].low < 0.5 < found["view"].high


def test_a_probe_never_sees_a_patient_twice(rng: np.random.Generator, draw: Draw) -> None:
    """Features that only name the patient tell nothing of a new one, though images of one patient share the sex."""
    images = draw(1, patients=60, per_patient=6).images()
    own = rng.normal(size=(60, 200))
    features = own[images["patient_id"].str[1:].astype(int)] + 0.01 * rng.normal(size=(360, 200))
    (probe,) = probe_features(features, images, ("sex",))
    assert probe.auroc.low < 0.5 < probe.auroc.high


def test_images_without_features_are_left_out(draw: Draw, rng: np.random.Generator) -> None:
    images = draw(0, patients=100).images()
    features = rng.normal(size=(len(images), 4))
    features[:50] = np.nan
    assert probe_features(features, images, ("sex",))[0].auroc.n == len(images) - 50


def test_few_patients_are_not_probed(draw: Draw) -> None:
    images = draw(0, patients=9).images()
    (probe,) = probe_features(np.zeros((18, 3)), images, ("sex",))
    assert math.isnan(probe.auroc.value)
    assert "fewer than 10" in probe.auroc.undefined_because


def test_a_score_that_follows_a_marker_is_exposed(draw: Draw, rng: np.random.Generator) -> None:
    """The marker goes along with the finding and with the score; sex goes along with neither."""
    predictions = draw(6, patients=400, labels=("mass",))
    target = predictions.table["target"].to_numpy()
    marker = rng.random(len(target)) < np.where(target == 1, 0.8, 0.2)
    score = np.clip(predictions.table["score"] + 0.3 * marker, 0, 1)
    shortcut = replace(predictions, table=predictions.table.assign(marker=np.where(marker, "yes", "no"), score=score))
    links = {(link.attribute, link.target): link for link in score_links(shortcut, ("marker", "sex"))}
    assert all(links["marker", target].p < 1e-3 and links["marker", target].auroc.low > 0.5 for target in (0, 1))
    assert all(links["sex", target].p > 0.05 for target in (0, 1))
    # a marker that the score does not use goes along with the score as the finding does, and with nothing besides
    honest = replace(predictions, table=predictions.table.assign(marker=np.where(marker, "yes", "no")))
    assert all(link.p > 0.05 for link in score_links(honest, ("marker",)))
