"""Baselines know what they may know, and find a planted shortcut."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resight.errors import PredictionsError
from resight.evaluation import Baseline, EvaluationOptions, baselines
from resight.predictions import Predictions


def table(rng: np.random.Generator, n: int = 400, sick: float = 0.3, shift: float = 30) -> Predictions:
    """Age tells who is ill; view does not; the name of the ward has too many values to be an attribute."""
    y = (rng.random(n) < sick).astype(float)
    images = pd.DataFrame({
        "image": [f"{k}.png" for k in range(n)],
        "patient_id": (np.arange(n) // 2).astype(str),
        "age": np.where(rng.random(n) < 0.1, np.nan, rng.normal(50, 10, n) + shift * y),
        "view": rng.choice(["PA", "AP", None], n),
        "ward": [f"w{k % 50}" for k in range(n)],
    })  # fmt: skip
    return Predictions.from_arrays(images, ("L",), "binary", score=rng.random((n, 1)), target=y[:, None])


def by_name(found: tuple[Baseline, ...]) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in found}


def test_constant_answers(rng: np.random.Generator) -> None:
    predictions = table(rng)
    found = by_name(baselines(predictions))
    share = predictions.targets().mean()
    assert found["majority"].metrics["accuracy"].value == pytest.approx(1 - share)
    assert found["all-negative"].metrics["sensitivity"].value == 0
    assert found["prevalence"].metrics["brier"].value == pytest.approx(share * (1 - share))
    assert found["prevalence"].metrics["auprc"].value == pytest.approx(share)
    assert found["prevalence"].note == "answer taken from the evaluated rows"


def test_development_rows_give_the_answers(rng: np.random.Generator) -> None:
    predictions, development = table(rng, sick=0.3), table(rng, sick=0.9)
    found = by_name(baselines(predictions, development))
    assert found["majority"].metrics["accuracy"].value == pytest.approx(predictions.targets().mean())
    assert found["prevalence"].note == ""


def test_metadata_finds_the_shortcut_across_patients_and_from_development_rows(rng: np.random.Generator) -> None:
    predictions = table(rng)
    crossed = by_name(baselines(predictions))["metadata"]
    assert crossed.note == "age, view; fitted across folds of patients"
    assert crossed.metrics["auroc"].low > 0.85
    fitted = by_name(baselines(predictions, table(rng)))["metadata"]
    assert fitted.note == "age, view; fitted on the development rows"
    assert fitted.metrics["auroc"].low > 0.85
    nothing = by_name(baselines(predictions, options=EvaluationOptions(metadata=("view",))))["metadata"]
    assert nothing.metrics["auroc"].value < 0.65


def test_rows_without_a_score_still_teach_the_baselines(rng: np.random.Generator) -> None:
    """Training images are in the table of a run with empty predictions."""
    predictions, scored = table(rng), table(rng, sick=0.9)
    unscored = Predictions(scored.table.assign(score=np.nan), scored.labels, scored.task)
    with_scores, without = (by_name(baselines(predictions, rows)) for rows in (scored, unscored))
    assert without["metadata"] == with_scores["metadata"]
    assert without["prevalence"] == with_scores["prevalence"]


def test_metadata_is_never_fitted_on_the_rows_it_answers(rng: np.random.Generator) -> None:
    """Each patient's own random number would give an AUROC of 1 to a model that saw the patient."""
    n = 300
    images = pd.DataFrame({
        "image": [f"{k}.png" for k in range(n)],
        "patient_id": (np.arange(n) // 15).astype(str),
        "site": [f"s{k // 15}" for k in range(n)],
    })  # fmt: skip
    y = np.repeat(rng.permutation(np.arange(20) % 2), 15).astype(float)
    predictions = Predictions.from_arrays(images, ("L",), "binary", score=rng.random((n, 1)), target=y[:, None])
    assert by_name(baselines(predictions))["metadata"].metrics["auroc"].value < 0.65


def test_too_few_positives_to_fit_on_say_so(rng: np.random.Generator) -> None:
    predictions = table(rng)
    predictions.table["target"] = (np.arange(400) < 3).astype(float)
    value = by_name(baselines(predictions))["metadata"].metrics["auroc"]
    assert value.undefined_because == "fewer than 5 positives or negatives to fit on"


def test_no_attributes_no_metadata_baseline(rng: np.random.Generator) -> None:
    predictions = table(rng)
    bare = Predictions(predictions.table.drop(columns=["age", "view", "ward"]), ("L",), "binary")
    assert "metadata" not in by_name(baselines(bare))
    with pytest.raises(PredictionsError, match="Did you mean 'view'"):
        baselines(predictions, options=EvaluationOptions(metadata=("viev",)))


def test_multiclass_majority_is_one_class(rng: np.random.Generator) -> None:
    y = np.eye(3)[[0, 0, 0, 1, 2, 2]]
    images = pd.DataFrame({"image": list("abcdef")})
    predictions = Predictions.from_arrays(images, ("A", "B", "C"), "multiclass", score=rng.random((6, 3)), target=y)
    found = baselines(predictions)
    assert (found[0].name, found[0].label, found[0].metrics["accuracy"].value) == ("majority", "", 0.5)
    assert "all-negative" not in by_name(found)
