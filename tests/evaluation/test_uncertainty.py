from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from resight.evaluation import ConformalOptions, EvaluationOptions, fit_conformal, judge_uncertainty
from resight.predictions import Predictions

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
OPTIONS = EvaluationOptions(bootstrap=50)


def test_real_predictions_have_sets_chosen_on_validation_and_judged_on_test() -> None:
    table = Predictions.read(RESULTS / "cxr_pneumonia" / "predictions.csv")
    validation, test = table.part(split="validation"), table.part(split="test")
    options = ConformalOptions(coverage=0.9)
    p, y, mask = validation.probabilities(), validation.targets(), validation.mask()
    conformal = fit_conformal(p, y, mask, "binary", options, patients=validation.groups())
    found = judge_uncertainty(test, conformal, OPTIONS)
    assert found.sets is not None
    assert found.sets.coverage["PNEUMONIA"].high > 0.9
    assert any(name.startswith("subtype") for name in found.sets.by_group)
    assert found.selective["PNEUMONIA"].at[1.0].value < 0.05
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_a_multiclass_table_is_judged_as_a_whole(rng: np.random.Generator) -> None:
    import pandas as pd

    y = rng.integers(0, 3, 200)
    p = rng.dirichlet(np.ones(3), 200) * 0.5 + 0.5 * np.eye(3)[np.where(rng.random(200) < 0.8, y, (y + 1) % 3)]
    images = pd.DataFrame({"image": [f"{i}" for i in range(200)]})
    columns = {"score": p, "probability": p, "target": np.eye(3)[y]}
    table = Predictions.from_arrays(images, ("a", "b", "c"), "multiclass", **columns)
    found = judge_uncertainty(table, None, OPTIONS)
    assert found.sets is None
    assert set(found.selective) == {"all"}
    assert 0.1 < found.selective["all"].at[1.0].value < 0.3


def test_rows_without_a_target_do_not_count() -> None:
    table = Predictions.read(RESULTS / "cxr_pneumonia" / "predictions.csv").part(split="test")
    table.table.loc[:49, "target"] = np.nan
    found = judge_uncertainty(table, None, OPTIONS)
    assert found.selective["PNEUMONIA"].aurc.n == len(table) - 50
