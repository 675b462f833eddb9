"""Metrics by group and gaps against Fairlearn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score

from resight.fairness import AuditOptions, audit
from resight.predictions import Predictions

fairlearn = pytest.importorskip("fairlearn.metrics")


@pytest.fixture(scope="module")
def case() -> tuple[Predictions, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    group = rng.choice(["a", "b", "c"], 600, p=[0.5, 0.3, 0.2])
    y = (rng.random(600) < 0.4).astype(float)
    p = np.clip(0.3 + 0.25 * y - 0.1 * (group == "c") + 0.2 * rng.normal(size=600), 0, 1)
    d = (p >= 0.5).astype(float)
    images = pd.DataFrame({"image": [str(i) for i in range(600)], "site": group})
    columns = {"score": p, "probability": p, "decision": d, "target": y}
    return (
        Predictions.from_arrays(images, ("x",), "binary", **{k: v[:, None] for k, v in columns.items()}),
        y,
        p,
        d,
        group,
    )


def test_metrics_by_group_are_those_of_its_metric_frame(case: tuple) -> None:
    predictions, y, p, d, group = case
    found = audit(predictions, AuditOptions(by=("site",), bootstrap=0))
    decided = {
        "sensitivity": recall_score,
        "fpr": fairlearn.false_positive_rate,
        "fnr": fairlearn.false_negative_rate,
        "specificity": fairlearn.true_negative_rate,
        "selection_rate": fairlearn.selection_rate,
    }
    frame = fairlearn.MetricFrame(metrics=decided, y_true=y, y_pred=d, sensitive_features=group)
    scored = fairlearn.MetricFrame(
        metrics={"auroc": roc_auc_score, "brier": brier_score_loss}, y_true=y, y_pred=p, sensitive_features=group
    )
    for one in found.groups:
        for name in decided if one.label else ():
            assert one.metrics[name].value == pytest.approx(frame.by_group.loc[one.group, name], abs=1e-12)
        for name in ("auroc", "brier") if one.label else ():
            assert one.metrics[name].value == pytest.approx(scored.by_group.loc[one.group, name], abs=1e-12)


def test_gaps_are_its_differences(case: tuple) -> None:
    predictions, y, _, d, group = case
    gaps = {gap.metric: gap.gap.value for gap in audit(predictions, AuditOptions(by=("site",), bootstrap=0)).gaps}
    odds = fairlearn.equalized_odds_difference(y, d, sensitive_features=group)
    parity = fairlearn.demographic_parity_difference(y, d, sensitive_features=group)
    assert gaps["equalised_odds"] == pytest.approx(odds, abs=1e-12)
    assert gaps["selection_rate"] == pytest.approx(parity, abs=1e-12)
