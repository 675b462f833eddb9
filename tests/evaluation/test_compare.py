"""Two models: the same images or an error, and a difference only where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from resight.cli.main import main
from resight.errors import PredictionsError
from resight.evaluation import EvaluationOptions, compare
from resight.predictions import Predictions

QUICK = EvaluationOptions(bootstrap=60)


def pair(rng: np.random.Generator, n: int = 300, better: float = 1.0) -> tuple[Predictions, Predictions]:
    """The second model sees the same image with less noise on label A; on label B both see noise."""
    y = (rng.random((n, 2)) < 0.4).astype(float)
    seen = y * [1.0, 0.0] + rng.normal(0, 0.8, (n, 2))
    images = pd.DataFrame({"image": [f"{k}.png" for k in range(n)], "patient_id": (np.arange(n) // 2).astype(str)})
    tables = []
    for gain in (0.0, better):
        z = seen + gain * (y - 0.4) * [1.0, 0.0] + rng.normal(0, 0.4, (n, 2))
        p = 1 / (1 + np.exp(-z))
        columns = {"score": z, "probability": p, "decision": (p > 0.5).astype(float), "target": y}
        tables.append(Predictions.from_arrays(images, ("A", "B"), "multilabel", **columns))
    return tables[0], tables[1]


def test_the_better_model_is_found_on_the_label_where_it_is_better(rng: np.random.Generator) -> None:
    found = compare(*pair(rng), QUICK)
    a, b = found.labels
    assert a.difference.value == pytest.approx(a.auroc_b.value - a.auroc_a.value, abs=1e-12)
    assert a.difference.low > 0
    assert a.p_holm < 0.001 < 0.05 < b.p
    assert a.p_holm == pytest.approx(2 * a.p)
    assert a.mcnemar is not None
    assert a.mcnemar_p_holm < 0.001
    assert a.differences["brier"].high < 0
    assert a.differences["auprc"].low > 0
    assert "sensitivity" in a.differences
    assert "auroc" not in a.differences
    assert found.macro.value == pytest.approx(np.mean([a.difference.value, b.difference.value]))
    assert found.macro.low > 0
    assert (found.images, found.patients) == (300, 150)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_model_against_itself_is_no_difference(rng: np.random.Generator) -> None:
    model, _ = pair(rng)
    found = compare(model, model, QUICK)
    assert found.labels[0].difference.value == 0
    assert found.labels[0].p == 1
    assert found.labels[0].mcnemar is not None
    assert found.labels[0].mcnemar.p == 1
    assert (found.macro.low, found.macro.high) == (0, 0)


def test_order_of_rows_and_labels_does_not_count(rng: np.random.Generator) -> None:
    a, b = pair(rng)
    frame = b.table.sort_values(["label", "image"], ascending=[False, True]).sort_values("image", kind="stable")
    shuffled = Predictions(frame.reset_index(drop=True), ("B", "A"), b.task)
    assert compare(a, shuffled, QUICK).to_dict() == compare(a, b, QUICK).to_dict()


def test_p_values_of_equal_models_are_uniform() -> None:
    """100 studies; the share below 0.05 has noise 0.022 and the distribution must not be far from uniform."""
    p = []
    for seed in range(100):
        a, b = pair(np.random.default_rng(seed), n=120, better=0.0)
        p.append(compare(a, b, EvaluationOptions(bootstrap=0)).labels[0].p)
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert stats.kstest(p, "uniform").pvalue > 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[t["image"] != "7.png"], r"image '7.png' is in the first table only \(1 such images\)"),
        (lambda t: t[t["label"] != "B"], r"label 'B' is in the first table only"),
        (lambda t: t.assign(target=1 - t["target"]), r"image '0.png' has targets . and . for label 'A' \(600 targets"),
        (lambda t: t.assign(patient_id="9"), "image '0.png' belongs to patients '0' and '9'"),
        (lambda t: t.drop(columns="target"), "no column 'target'"),
    ],
)
def test_tables_that_differ_are_refused(rng: np.random.Generator, change: object, message: str) -> None:
    a, b = pair(rng)
    frame = change(b.table).reset_index(drop=True)  # type: ignore[operator]
    with pytest.raises(PredictionsError, match=message):
        compare(a, Predictions(frame, tuple(frame["label"].unique()), b.task), QUICK)


def test_an_image_one_model_could_not_read_is_left_out_and_said(rng: np.random.Generator) -> None:
    a, b = pair(rng)
    b.table.loc[0, ["score", "probability", "decision"]] = np.nan
    found = compare(a, b, QUICK)
    assert found.notes == ("1 rows count in one table only and are left out",)
    assert found.labels[0].difference.n == 299
    b.table["score"] = np.nan
    with pytest.raises(PredictionsError, match="no row counts in both tables"):
        compare(a, b, QUICK)


def test_one_class_leaves_the_label_undefined_and_uncounted(rng: np.random.Generator) -> None:
    a, b = pair(rng)
    for model in (a, b):
        model.table.loc[model.table["label"] == "B", "target"] = 0.0
    found = compare(a, b, QUICK)
    assert found.labels[1].difference.undefined_because == "0 positives, 300 negatives"
    assert np.isnan(found.labels[1].p_holm)
    assert "B: no p: 0 positives, 300 negatives" in found.notes
    assert found.labels[0].p_holm == found.labels[0].p
    assert found.macro.n == 1


def test_only_the_split_asked_for(rng: np.random.Generator) -> None:
    a, b = pair(rng)
    for model in (a, b):
        model.table["split"] = np.where(np.arange(600) < 200, "test", "train")
    assert compare(a, b, EvaluationOptions(bootstrap=0)).images == 100
    assert compare(a, b, EvaluationOptions(bootstrap=0, split="train")).images == 200
    elsewhere = Predictions(b.table.drop(columns=["split"]), b.labels, b.task)
    assert compare(a, elsewhere, EvaluationOptions(bootstrap=0)).images == 100


def test_scores_alone_are_compared_by_rank_only(rng: np.random.Generator) -> None:
    a, b = pair(rng)
    bare = Predictions(b.table.drop(columns=["probability", "decision"]), b.labels, b.task)
    found = compare(a, bare, QUICK)
    assert found.labels[0].mcnemar is None
    assert np.isnan(found.labels[0].mcnemar_p_holm)
    assert "brier" not in found.labels[0].differences


def test_a_table_recalibrated_by_group_is_another_model_though_its_scores_are_the_same(
    rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _ = pair(rng)
    of_second_half = (np.arange(600) >= 300).astype(float)
    moved = special.expit(special.logit(a.table["probability"]) - 3 * of_second_half)
    b = Predictions(a.table.assign(probability=moved), a.labels, a.task)
    found = compare(a, b, QUICK).labels[0]
    assert found.auroc_a.value == compare(a, a, QUICK).labels[0].auroc_a.value
    assert found.difference.high < 0
    assert found.differences["brier"].low > 0
    assert found.differences["calibration_intercept"].value > 1
    for name, table in (("a.csv", a), ("b.csv", b)):
        table.write(tmp_path / name)
    assert main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--bootstrap", "60"]) == 0
    shown = capsys.readouterr().out
    assert f"{found.differences['brier'].value:.3f}" in shown
    assert "Probabilities, b - a" in shown


def test_a_row_without_a_probability_counts_in_neither_table(rng: np.random.Generator) -> None:
    a, b = pair(rng)
    b.table.loc[0, "probability"] = np.nan
    found = compare(a, b, QUICK)
    assert found.labels[0].difference.n == 299
    assert found.notes == ("1 rows count in one table only and are left out",)
