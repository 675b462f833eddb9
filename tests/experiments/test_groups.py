"""What a run says of its groups."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from resight.cohorts import CohortOptions
from resight.experiments import ExperimentSettings
from resight.experiments.groups import group_findings
from resight.predictions import Predictions


@pytest.fixture
def judged(draw_groups: Callable[[float], Predictions]) -> Callable[[float], Any]:
    return lambda fainter: SimpleNamespace(predictions=draw_groups(fainter), evaluated_on="test")


@pytest.fixture
def draw_groups() -> Callable[[float], Predictions]:
    def draw(fainter: float) -> Predictions:
        rng = np.random.default_rng(0)
        sex = rng.choice(["F", "M"], 600)
        target = (rng.random(600) < 0.4).astype(float)
        score = expit(rng.normal(size=600) + target * (2.5 - fainter * (sex == "F")) - 1.2)
        images = pd.DataFrame({"image": [str(i) for i in range(600)], "split": "test", "sex": sex})
        columns = {"score": score, "decision": score >= 0.5, "target": target}
        arrays = {name: value.astype(float)[:, None] for name, value in columns.items()}
        return Predictions.from_arrays(images, ("mass",), "binary", **arrays)

    return draw


SETTINGS = ExperimentSettings(cohort=CohortOptions(path="x.csv"))


def test_a_planted_difference_is_a_sentence(judged: Callable[[float], Any]) -> None:
    found = group_findings(SETTINGS, judged(1.5))
    assert {row.group for row in found.rows} == {"F", "M"}
    assert any(line.startswith("sex F, mass: sensitivity 0.") for line in found.sentences)


def test_no_difference_is_no_proof(judged: Callable[[float], Any]) -> None:
    (line,) = group_findings(SETTINGS, judged(0.0)).sentences
    assert line.startswith("None of 5 tests finds a difference by sex")


def test_without_attributes_nothing_is_known(judged: Callable[[float], Any]) -> None:
    settings = SETTINGS.model_copy(update={"report": SETTINGS.report.model_copy(update={"groups": ("view",)})})
    assert "no groups are known" in group_findings(settings, judged(0.0)).sentences[0]
