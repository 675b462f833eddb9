"""Sentences of the ChestX-ray14 study: every number is that of the runs, and labels that cannot be compared are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from resight.evaluation import EvaluationOptions, evaluate
from resight.predictions import Predictions
from resight.protocols.chestxray14_boxes import BoxScores
from resight.protocols.chestxray14_words import _about_maps, _about_models, _about_pairs
from resight.types import MetricValue

_COUNT = 240


def _run(rng: np.random.Generator, skill: float) -> Any:
    """A run over two labels: `old` can be told by age, `rare` is too rare to fit anything."""
    old = np.random.default_rng(7).integers(0, 2, _COUNT).astype(float)
    rare = (np.arange(_COUNT) % 60 == 0).astype(float)
    images = pd.DataFrame(
        {
            "image": [str(i) for i in range(_COUNT)],
            "patient_id": [str(i) for i in range(_COUNT)],
            "split": np.where(np.arange(_COUNT) % 2, "train", "test"),
            "age": 40 + 5 * old + np.random.default_rng(8).normal(0, 5, _COUNT),
        }
    )
    target = np.stack([old, rare], axis=1)
    score = 1 / (1 + np.exp(-(skill * (2 * target - 1) + rng.normal(size=target.shape))))
    predictions = Predictions.from_arrays(images, ("old", "rare"), "multilabel", score=score, target=target)
    return SimpleNamespace(
        judged=SimpleNamespace(evaluation=evaluate(predictions, EvaluationOptions(bootstrap=20, metadata=("age",))))
    )


def test_networks_stand_beside_age_on_the_labels_that_age_was_fitted_on(rng: np.random.Generator) -> None:
    runs = {"sharp": _run(rng, 3.0), "blind": _run(rng, 0.0)}
    reached, beside, few = _about_models(runs)
    for name, run in runs.items():
        assert f"{name} {run.judged.evaluation.macro['auroc']}" in reached
    assert "over 2 labels on 120 official test images of 120 patients" in reached
    evaluation = runs["sharp"].judged.evaluation
    (alone,) = (b.metrics["auroc"].value for b in evaluation.baselines if (b.name, b.label) == ("metadata", "old"))
    assert f"reach {alone:.3f} over the 1 labels" in beside
    assert "(sharp), 1 of 2 above" in beside
    own = {name: run.judged.evaluation.labels[0].metrics["auroc"].value for name, run in runs.items()}
    assert f"between {own['blind']:.3f} (blind) and {own['sharp']:.3f} (sharp)" in beside
    assert few == "1 labels have fewer than 20 positives there and say next to nothing: rare."
    assert _about_models({}) == []


def test_pairs_name_only_those_whose_interval_leaves_out_nought() -> None:
    values = {"better": MetricValue(0.1, 0.02, 0.18), "worse": MetricValue(-0.1, -0.2, -0.01)}
    values["same"] = MetricValue(0.01, -0.1, 0.1)
    pairs: Any = {("first", name): SimpleNamespace(macro=value) for name, value in values.items()}
    (sentence,) = _about_pairs(pairs)
    assert "less that of first" in sentence
    assert "better +0.100 (+0.020 to +0.180), worse -0.100" in sentence
    assert "leaves out 0 for better and worse (95 % each, not corrected for 3 comparisons)" in sentence
    assert "leaves out 0 for none" in _about_pairs({key: pairs[key] for key in [("first", "same")]})[0]
    assert _about_pairs({}) == []


def test_networks_whose_maps_are_empty_share_a_sentence() -> None:
    def scores(empty: int, hit: float) -> BoxScores:
        return BoxScores(9, empty, MetricValue(hit, hit - 0.05, hit + 0.05), MetricValue(0.3), {}, {})

    found = _about_maps({"a": scores(9, 0.1), "b": scores(2, 0.6), "c": scores(9, 0.1), "d": scores(0, 0.3)})
    assert len(found) == 3
    assert found[0].startswith("The strongest evidence of b hits 0.600 (0.550-0.650) of 9 boxes, more than the middle")
    assert found[0].endswith("2 of these maps are empty and count as a random place does.")
    assert "not certainly more than the middle" in found[1]
    assert found[2].startswith("The maps of a, c are empty at all 9 boxes")
