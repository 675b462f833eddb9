"""A gap planted between groups of a cohort: found by the audit, and at least halved in training and after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resight.cohorts import PhantomOptions, write_phantom

EXPERIMENT = Path(__file__).parents[2] / "benchmarks" / "experiments" / "phantom_bias.toml"
SMALL = (
    "members=1", "recipe.size_px=[32, 32]", "model.backbone.width=8", "training.epochs=6", "training.precision=fp32",
    "evaluation.bootstrap=20",
)  # fmt: skip


@pytest.mark.slow
def test_a_planted_gap_is_found_and_halved_through_the_street(resight: Any, tmp_path: Path) -> None:
    rarer = {"attribute": "view", "value": "PA", "prevalence": 0.2}
    options = PhantomOptions(
        images=1600, size_px=32, findings=("Mass",), prevalence=0.5, images_per_patient=1, portable=0.5, bias=rarer,
        difficulty=0.5, splits=(0.4, 0.25, 0.35),
    )  # fmt: skip
    write_phantom(options, tmp_path)

    def trained(name: str, *changes: str) -> Path:
        given = [
            word for one in (f"cohort.path={tmp_path / 'cohort.csv'}", *SMALL, *changes) for word in ("--set", one)
        ]
        assert resight("train", EXPERIMENT, "--out", tmp_path / name, *given).code == 0
        return tmp_path / name / "predictions.csv"

    usual = trained("usual")
    found = resight("audit", usual, "--by", "view", "--bootstrap", 20, "--json").json()["differences"]
    (ap,) = (one for one in found if one["group"] == "AP" and one["metric"] == "sensitivity")
    assert ap["found"]
    assert ap["difference"]["low"] > 0.1  # fewer of the masses of PA images are called: their prevalence was planted

    def gap(*arguments: object) -> dict[str, Any]:
        answer = resight("mitigate", usual, "--by", "view", "--bootstrap", 100, "--json", *arguments)
        return next(one for one in answer.json()["effects"] if one["metric"] == "equalised_odds_gap")

    mended = trained("mended", "training.objective.name=group_dro", "training.objective.options.step_size=0.1")
    for changed in (gap("--against", mended), gap("--method", "equalised_odds")):
        assert changed["after"]["value"] < changed["before"]["value"] / 2
        assert changed["change"]["high"] < 0
