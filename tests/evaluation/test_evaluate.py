"""One call, every number: what it rests on, what it says where there is nothing to say."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from resight.errors import PredictionsError
from resight.evaluation import (
    EvaluationOptions,
    OperatingRule,
    auroc,
    choose_operating_points,
    decision_metrics,
    evaluate,
)
from resight.predictions import Predictions

QUICK = EvaluationOptions(bootstrap=50)


def multilabel(rng: np.random.Generator, n: int = 300, **more: object) -> Predictions:
    z = rng.normal(-1, 1, (n, 3))
    y = (rng.random((n, 3)) < expit(z)).astype(float)
    images = pd.DataFrame({"image": [f"{k}.png" for k in range(n)], "patient_id": (np.arange(n) // 3).astype(str)})
    images = images.assign(**more)
    p = expit(z)
    return Predictions.from_arrays(images, ("A", "B", "C"), "multilabel", logit=z, score=p, probability=p, target=y)


def multiclass(rng: np.random.Generator, n: int = 200) -> tuple[Predictions, np.ndarray, np.ndarray]:
    p = softmax(rng.normal(0, 1.5, (n, 3)), axis=1)
    y = np.array([rng.choice(3, p=row) for row in p])
    images = pd.DataFrame({"image": [f"{k}.png" for k in range(n)]})
    return (
        Predictions.from_arrays(images, ("A", "B", "C"), "multiclass", score=p, probability=p, target=np.eye(3)[y]),
        p,
        y,
    )


def test_every_value_is_inside_its_interval_and_names_it(rng: np.random.Generator) -> None:
    result = evaluate(multilabel(rng), QUICK)
    assert (result.images, result.patients, result.estimable) == (300, 100, 3)
    for label in result.labels:
        for name, value in label.metrics.items():
            assert value.undefined_because == "", name
            if name != "ece":  # binned errors are biased upwards, and so are their replicates
                assert math.isnan(value.low) or value.low <= value.value <= value.high, name
            assert (value.interval == "") == math.isnan(value.low), name
    used = {name: value.interval for name, value in result.labels[0].metrics.items()}
    assert used["auroc"] == "DeLong by patient, logit"
    assert used["sensitivity"] == "Korn-Graubard by patient"
    assert used["calibration_slope"] == "sandwich by patient"
    assert used["auprc"] == used["brier"] == used["mcc"] == "bootstrap by patient"


def test_macro_is_the_mean_of_labels(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    result = evaluate(table, QUICK)
    expected = np.mean([roc_auc_score(table.targets()[:, k], table.array("score")[:, k]) for k in range(3)])
    assert result.macro["auroc"].value == pytest.approx(expected, abs=1e-12)
    assert result.macro["auroc"].n == 3
    assert result.macro["auroc"].low < expected < result.macro["auroc"].high


def test_a_label_without_positives_is_left_out_of_the_macro_and_said(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    table.table.loc[table.table["label"] == "B", "target"] = 0.0
    table.table.loc[table.table["label"] == "C", "target"] = np.nan
    result = evaluate(table, QUICK)
    assert "B: not estimable: 0 positives, 300 negatives" in result.notes
    assert "C: not estimable: no rows" in result.notes
    assert math.isnan(result.labels[1].metrics["auroc"].value)
    assert result.labels[1].metrics["specificity"].n == 300
    assert result.labels[2].counts.masked == 300
    assert result.labels[2].curves.roc is None
    assert result.macro["auroc"].n == result.estimable == 1
    assert result.macro["auroc"].value == result.labels[0].metrics["auroc"].value


def test_permuting_rows_changes_nothing(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    order = rng.permutation(300)
    rows = (order[:, None] * 3 + np.arange(3)).ravel()
    shuffled = Predictions(table.table.iloc[rows].reset_index(drop=True), table.labels, table.task)
    options = EvaluationOptions(bootstrap=50, baselines=False)
    one, other = evaluate(table, options), evaluate(shuffled, options)
    for a, b in zip(one.labels, other.labels, strict=True):
        for name, value in a.metrics.items():
            numbers = [b.metrics[name].value, b.metrics[name].low, b.metrics[name].high]
            assert numbers == pytest.approx([value.value, value.low, value.high], abs=1e-9, nan_ok=True), name


def test_decisions_of_the_table_come_first_and_half_last(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    half = evaluate(table, QUICK)
    assert "No decisions in the table: positive means a probability of at least 0.5" in half.notes
    assert {(r.name, r.threshold) for r in half.operating} == {("0.5", 0.5)}
    y, p = table.targets(), table.probabilities()
    points = choose_operating_points(
        p, y, table.mask(), table.labels, [OperatingRule(), OperatingRule(kind="cost", value=3)]
    )
    chosen = evaluate(table, QUICK, operating_points=points)
    assert [r.name for r in chosen.operating] == ["youden"] * 3 + ["cost 3"] * 3
    assert [r.threshold for r in chosen.operating] == [point.threshold for point in points]
    assert chosen.labels[0].metrics["sensitivity"].value == points[0].sensitivity
    assert chosen.operating[4].metrics["sensitivity"].value == points[4].sensitivity
    table.table["decision"] = (table.table["probability"] > 0.2).astype(float)
    table.table["operating_point"] = "youden"
    same = evaluate(table, QUICK, operating_points=points)
    assert [r.threshold for r in same.operating] == [point.threshold for point in points]
    table.table["operating_point"] = "screening"
    own = evaluate(table, QUICK, operating_points=points)
    assert [r.name for r in own.operating[::3]] == ["screening", "youden", "cost 3"]
    expected = decision_metrics(y[:, 0], p[:, 0] > 0.2)["sensitivity"].value
    assert own.labels[0].metrics["sensitivity"].value == expected
    assert sum(vars(own.operating[0].confusion).values()) == 300


def test_multiclass_is_one_against_rest_and_the_most_likely_class(rng: np.random.Generator) -> None:
    table, p, y = multiclass(rng)
    result = evaluate(table, QUICK)
    assert result.overall["accuracy"].value == pytest.approx(np.mean(p.argmax(axis=1) == y))
    assert set(result.overall) == {"accuracy", "balanced_accuracy", "cohen_kappa", "brier", "log_loss", "ece"}
    assert all(value.interval for value in result.overall.values())
    assert result.macro["auroc"].value == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
    assert "No decisions in the table: the most likely class is taken" in result.notes
    assert sum(r.confusion.true_positives + r.confusion.false_positives for r in result.operating) == 200


def test_scores_that_are_no_probabilities_are_ranked_only(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    plain = Predictions(
        table.table.drop(columns=["probability"]).assign(score=table.table["logit"]), table.labels, table.task
    )
    result = evaluate(plain, QUICK)
    assert set(result.labels[0].metrics) == {
        "auroc", "auprc", "partial_auroc", "sensitivity_at_specificity_0.9", "specificity_at_sensitivity_0.9"
    }  # fmt: skip
    assert result.operating == ()
    assert any("no probabilities" in note for note in result.notes)
    assert result.labels[0].curves.decision is None
    assert result.macro["auroc"].value == evaluate(table, QUICK).macro["auroc"].value


def test_missing_scores_soft_targets_and_masked_rows_do_not_count(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    frame = table.table
    frame["mask"] = True
    frame.loc[0, ["score", "probability", "logit"]] = np.nan
    frame.loc[9:11, ["score", "probability", "logit"]] = np.nan
    frame.loc[3, "target"] = 0.7
    frame.loc[6, "mask"] = False
    result = evaluate(table, QUICK)
    assert result.labels[0].counts.masked == 4
    assert "1 images without any score do not count" in result.notes
    assert "1 targets between 0 and 1 do not count" in result.notes
    y, s = table.targets()[:, 0], table.array("score")[:, 0]
    assert result.labels[0].metrics["auroc"].value == pytest.approx(auroc(y[4:], s[4:]).value, abs=1e-12)


def test_the_test_rows_are_evaluated_and_the_others_only_fitted_on(rng: np.random.Generator) -> None:
    split = np.repeat(["train", "validation", "test"], 100)
    table = multilabel(rng, split=split, age=rng.normal(50, 10, 300))
    result = evaluate(table, QUICK)
    assert result.images == 100
    expected = evaluate(table.part(split="test"), QUICK)
    assert {k: str(v) for k, v in result.macro.items()} == {k: str(v) for k, v in expected.macro.items()}
    notes = {b.note for b in result.baselines if b.name == "metadata"}
    assert notes == {"age; fitted on the development rows"}
    assert evaluate(table, EvaluationOptions(bootstrap=0, split="validation")).images == 100
    with pytest.raises(PredictionsError, match="Did you mean 'validation'"):
        evaluate(table, EvaluationOptions(split="valdation"))
    with pytest.raises(PredictionsError, match="no column 'split'"):
        evaluate(multilabel(rng), EvaluationOptions(split="test"))
    only_train = evaluate(table.part(split="train"), QUICK)
    assert "No test split: all rows are evaluated (train)" in only_train.notes


def test_without_targets_there_is_nothing_to_evaluate(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    bare = Predictions(table.table.drop(columns=["target"]), table.labels, table.task)
    with pytest.raises(PredictionsError, match="no row with a target that counts"):
        evaluate(bare)
    table.table["target"] = np.nan
    with pytest.raises(PredictionsError, match="no row with a target that counts"):
        evaluate(table)


def test_one_image_does_not_crash() -> None:
    images = pd.DataFrame({"image": ["a"]})
    table = Predictions.from_arrays(images, ("A",), "binary", score=np.array([[0.2]]), target=np.array([[1.0]]))
    result = evaluate(table, QUICK)
    assert "A: not estimable: 1 positives, 0 negatives" in result.notes
    assert result.labels[0].metrics["brier"].value == pytest.approx(0.64)
    assert any("every image counts as a patient" in note for note in result.notes)
    assert any("scores are taken for probabilities" in note for note in result.notes)


def test_json_holds_no_nan_and_thin_curves(rng: np.random.Generator) -> None:
    table = multilabel(rng, 2000)
    table.table.loc[table.table["label"] == "B", "target"] = 0.0
    data = json.loads(json.dumps(evaluate(table, QUICK).to_dict(), allow_nan=False))
    label = data["labels"][0]
    assert len(label["curves"]["roc"]["x"]) <= 400
    assert label["curves"]["roc"]["threshold"][0] is None
    assert set(label["metrics"]["auroc"]) == {"value", "low", "high", "n", "undefined_because", "interval"}
    assert data["labels"][1]["metrics"]["auroc"]["value"] is None
    assert data["operating"][0]["confusion"]["true_positives"] > 0
    assert len(label["curves"]["reliability"]["observed"]) == len(label["curves"]["reliability"]["count"])


def test_auroc_interval_is_the_one_asked_for(rng: np.random.Generator) -> None:
    table = multilabel(rng)
    names = {
        kind: evaluate(table, EvaluationOptions(bootstrap=50, auroc_interval=kind)).labels[0].metrics["auroc"].interval
        for kind in ("delong", "logit", "bootstrap")
    }
    assert names == {
        "delong": "DeLong by patient", "logit": "DeLong by patient, logit", "bootstrap": "bootstrap by patient"
    }  # fmt: skip
    none = evaluate(table, EvaluationOptions(bootstrap=0))
    assert math.isnan(none.macro["auroc"].low)
    assert none.labels[0].metrics["auprc"].interval == ""


@pytest.mark.slow
def test_chest_x_ray_size_takes_seconds(rng: np.random.Generator) -> None:
    n = 25_596
    y = (rng.random((n, 14)) < np.linspace(0.003, 0.24, 14)).astype(float)
    p = expit(rng.normal(-2, 1, (n, 14)) + y)
    images = pd.DataFrame({"image": [f"{k}.png" for k in range(n)], "patient_id": rng.integers(0, 2797, n).astype(str)})
    table = Predictions.from_arrays(images, tuple("ABCDEFGHIJKLMN"), "multilabel", probability=p, score=p, target=y)
    start = time.process_time()
    evaluate(table)
    assert time.process_time() - start < 20
