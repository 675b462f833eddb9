"""Frozen networks on ChestX-ray14: nothing is learned from what is judged, and rivals see the same rows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.cohorts import SplitOptions, split_cohort
from resight.errors import SettingsError
from resight.protocols import PROTOCOLS, Surroundings
from resight.protocols.chestxray14_networks import network_of, title
from resight.protocols.chestxray14_probes import (
    NO_IMAGE,
    in_order_of,
    judge_probe,
    probe_features,
)
from resight.protocols.chestxray14_tables import _probes_by_label, _probes_resampled
from resight.protocols.chestxray14_words import _about_probes
from resight.types import Cohort, silent

N = 300


@pytest.fixture
def cohort(rng: np.random.Generator, tmp_path: Path) -> Cohort:
    """Patients with two images each; the first finding is in the features, the second too rare to fit."""
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(N)], "patient_id": [str(n // 2) for n in range(N)]})
    table["found"] = (rng.random(N) < 0.4).astype(float)
    table["rare"] = 0.0
    table.loc[[0, 100, 200], "rare"] = 1.0
    table["age"], table["sex"] = rng.integers(20, 80, N), rng.choice(["F", "M"], N)
    table["view"] = np.where(rng.random(N) < 0.8, np.where(table["found"] > 0, "AP", "PA"), "PA")
    cohort = Cohort(table, ("found", "rare"), "multilabel", tmp_path, "drawn")
    return split_cohort(cohort, SplitOptions(fractions=(0.6, 0.15, 0.25), seed=1))


def planted(cohort: Cohort, rng: np.random.Generator) -> np.ndarray:
    features = rng.normal(size=(N, 2, 40)).astype(np.float32)
    features[:, :, :5] += 1.5 * cohort.targets()[:, None, :1]
    return features


def test_a_planted_feature_is_found_and_noise_is_not(cohort: Cohort, rng: np.random.Generator) -> None:
    found, rare = judge_probe(planted(cohort, rng), cohort, bootstrap=50).evaluation.labels
    assert found.metrics["auroc"].value > 0.95
    assert rare.metrics["auroc"].value == pytest.approx(0.5) or np.isnan(rare.metrics["auroc"].value)
    noise = rng.normal(size=(N, 1, 400)).astype(np.float32)
    assert judge_probe(noise, cohort, bootstrap=50).evaluation.labels[0].metrics["auroc"].low < 0.5


def test_labels_of_the_test_images_change_no_score(cohort: Cohort, rng: np.random.Generator) -> None:
    features, table = planted(cohort, rng), cohort.table.copy()
    rows = table["split"] == "test"
    table.loc[rows, "found"] = 1 - table.loc[rows, "found"]
    other = Cohort(table, cohort.labels, cohort.task, cohort.root, cohort.name)
    for given in (features, None):
        straight, turned = (judge_probe(given, c, bootstrap=0).evaluation.labels[0] for c in (cohort, other))
        assert straight.metrics["auroc"].value == pytest.approx(1 - turned.metrics["auroc"].value)
        assert straight.metrics["auroc"].value > 0.7


def test_features_follow_the_rows_of_a_split(cohort: Cohort, rng: np.random.Generator) -> None:
    features = planted(cohort, rng)
    order = rng.permutation(N)
    shuffled = Cohort(
        cohort.table.iloc[order].reset_index(drop=True), cohort.labels, cohort.task, cohort.root, cohort.name
    )
    np.testing.assert_array_equal(in_order_of(shuffled, cohort, features), features[order])


@pytest.mark.parametrize("probe", ["resnet-18-ct", "densenet-121-ct", "resent-50", "resnet-51-ct"])
def test_networks_without_weights_are_refused(probe: str) -> None:
    with pytest.raises(SettingsError):
        network_of(probe)
    with pytest.raises(SettingsError):
        PROTOCOLS.build("chestxray14", {"probes": [probe]}, surroundings=Surroundings(Path("none"), Path("none")))


def test_tables_say_what_a_network_has_learned() -> None:
    assert [title(name) for name in ("resnet-50-ct", "resnet-50", "lite0")] == [
        "resnet-50, CT weights",
        "resnet-50, random weights",
        "EfficientNet-Lite0, ImageNet weights",
    ]


def test_random_features_are_the_same_again_and_kept(cohort: Cohort, rng: np.random.Generator, tmp_path: Path) -> None:
    for name in cohort.table["image"]:
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (8, 8), dtype=np.uint8))
    some = cohort.rows(np.arange(N) < 6)
    first = probe_features("resnet-18", some, tmp_path / "a", 16, silent)
    assert first.shape == (6, 2, 512)
    assert np.isfinite(first).all()
    assert np.std(first, axis=0).max() > 0
    np.testing.assert_array_equal(probe_features("resnet-18", some, tmp_path / "b", 16, silent), first)
    (kept,) = (tmp_path / "a" / "features").iterdir()
    np.save(kept, first + 1)
    np.testing.assert_array_equal(probe_features("resnet-18", some, tmp_path / "a", 16, silent), first + 1)


def test_page_puts_frozen_networks_beside_what_is_known_without_images(
    cohort: Cohort, rng: np.random.Generator
) -> None:
    features = planted(cohort, rng)
    bare = Cohort(cohort.table.drop(columns="split"), cohort.labels, cohort.task, cohort.root, cohort.name)
    splits = {f"resampled-{s}": split_cohort(bare, SplitOptions(seed=s)) for s in range(4)}
    probed = {
        NO_IMAGE: {name: judge_probe(None, s, bootstrap=0) for name, s in splits.items()},
        "planted": {name: judge_probe(in_order_of(s, cohort, features), s, bootstrap=0) for name, s in splits.items()},
    }
    found = type("Partly", (), {"probed": probed})()
    rows = {row.what: row for row in _probes_resampled(found)}
    assert set(rows) == {NO_IMAGE, "planted"}
    sentence = _about_probes(found)
    assert "the largest mean AUROC over 4 random splits is that of planted, " in sentence
    by_label = {(row.what, row.metric): row.ours for row in _probes_by_label(found, "auroc")}
    assert set(by_label) == {(label, name) for label in bare.labels for name in probed}
    each = [result.evaluation.labels[0].metrics["auroc"].value for result in probed["planted"].values()]
    assert by_label["found", "planted"].value == pytest.approx(np.mean(each))
