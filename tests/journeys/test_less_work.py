"""Exits and gates by names in a settings file: trained, calibrated, explained, bundled, and run within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from resight.evaluation import BudgetPoint, Budgets, Calibration, LabelCalibration
from resight.explain import build_explainer
from resight.models import Manifest, ModelOptions, build_classifier, load_bundle, save_bundle
from resight.models.exits import ExitOptions
from resight.preprocess import Recipe

ADAPTIVE = ("--set", 'model.exits.after=["stage2", "stage3"]', "--set", "model.backbone.gate_target=0.6")


@pytest.fixture(scope="module")
def adaptive_run(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from resight.cli.main import main

    folder = tmp_path_factory.mktemp("adaptive") / "run"
    assert main(["train", str(experiment), "--out", str(folder), *ADAPTIVE]) == 0
    return folder


def test_the_run_says_what_less_work_costs_and_whom(adaptive_run: Path) -> None:
    study = json.loads((adaptive_run / "budgets.json").read_text())
    manifest = json.loads((adaptive_run / "bundle" / "manifest.json").read_text())
    assert study["judged_on"] == "test"
    assert len(study["results"]) == len(manifest["budgets"]["points"]) > 0
    assert manifest["budgets"]["exits"] == ["stage2", "stage3"]
    images = manifest["data"]["images"]["test"]
    assert any(abs(result["auroc"] - study["whole_auroc"]) > 1e-3 for result in study["results"])
    for result in study["results"]:
        assert 0 < result["share"] <= 1.1
        assert 0 < result["seconds"] < 10
        assert result["change"]["value"] == pytest.approx(result["auroc"] - study["whole_auroc"], abs=1e-6)
        assert [row["name"] for row in result["exits"]] == ["stage2", "stage3", "last"]
        assert sum(row["images"] for row in result["exits"]) == images
        assert {"sex", "age"} & {group["attribute"] for group in result["groups"]}
    report = (adaptive_run / "report.html").read_text()
    assert "What less work per image costs" in report
    assert "Who leaves where" in report


def test_the_command_line_predicts_within_a_budget(
    resight: Callable, adaptive_run: Path, phantom: Path, tmp_path: Path
) -> None:
    budgets = load_bundle(adaptive_run / "bundle").manifest.budgets
    cheapest = budgets.points[0]
    least = cheapest.share
    out = tmp_path / "p.csv"
    answer = resight("predict", adaptive_run, phantom / "images", "--budget", least, "--out", out)
    assert answer.code == 0, answer.err
    said = " ".join(answer.err.split())
    assert f"expected FLOPs: {least:.0%} of the whole network's" in said
    assert f"mean AUROC there {cheapest.auroc:.3f}, of the whole network {budgets.whole_auroc:.3f}" in said
    table = pd.read_csv(out)
    assert set(table["exit"]) <= {"stage2", "stage3", "last"}
    assert table["flops_share"].mean() == pytest.approx(least, abs=0.15)
    assert table["probability"].between(0, 1).all()


@pytest.mark.parametrize(
    ("budget", "line"),
    [("1.5", "budget = 1.5; expected a share of the FLOPs above 0, at most 1"), ("0.01", "budget = 0.01; expected at")],
)
def test_budgets_that_cannot_be_end_in_one_line(
    resight: Callable, adaptive_run: Path, phantom: Path, budget: str, line: str
) -> None:
    answer = resight("predict", adaptive_run, phantom / "images", "--budget", budget)
    assert answer.code == 3
    assert line in answer.complaint


def test_a_budget_for_an_ordinary_bundle_ends_in_one_line(resight: Callable, run_folder: Path, phantom: Path) -> None:
    answer = resight("predict", run_folder, phantom / "images", "--budget", "0.6")
    assert answer.code == 3
    assert "the bundle has neither exits nor gates" in answer.complaint


def test_an_exit_that_does_not_exist_is_told_before_an_image_is_read(
    resight: Callable, experiment: Path, tmp_path: Path
) -> None:
    answer = resight("train", experiment, "--out", tmp_path / "run", "--set", 'model.exits.after=["stage7"]')
    assert answer.code == 3
    assert "no stage 'stage7'; expected stage1, stage2, stage3" in answer.complaint
    assert not (tmp_path / "run").exists()


def test_the_bundle_is_explained_whole_and_at_its_exits(adaptive_run: Path, phantom: Path) -> None:
    bundle = load_bundle(adaptive_run / "bundle")
    model = bundle.members[0]
    first = sorted((phantom / "images").iterdir())[0]
    images = torch.from_numpy(np.array(bundle.manifest.recipe.prepare(first)))[None]
    for network in (model, model.until("stage2")):
        maps = build_explainer("gradcam").explain(network, images)
        assert maps.shape == (1, 2, *images.shape[2:])
        assert maps.isfinite().all()


def test_a_budget_that_costs_a_group_its_sensitivity_is_named_or_refused(
    resight: Callable, phantom: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": 4}
    model = ModelOptions(backbone=backbone, exits=ExitOptions(after=("stage2",))).resolved()
    same = Calibration(task="binary", labels=(LabelCalibration(),))
    fall = "Effusion, sex F: sensitivity 0.900 becomes 0.600 (30 positives, -0.450 to -0.150)"

    def point(share: float, margin: float | None, **facts: Any) -> BudgetPoint:
        return BudgetPoint(share=share, margins=(margin,), calibrations=(same, same), falls=(fall,), **facts)

    budgets = Budgets(
        exits=("stage2",),
        deciding=(0.5,),
        whole_flops=1,
        points=(point(0.4, 0.0, refused=True), point(0.7, 1.0)),
    )
    network = build_classifier(model, labels=("Effusion",), channels=1, dims=2)
    manifest = Manifest(
        labels=("Effusion",), task="binary", recipe=Recipe(size_px=(32, 32)), model=model, budgets=budgets
    )
    save_bundle(tmp_path / "bundle", network, manifest)
    refused = resight("predict", tmp_path / "bundle", phantom / "images", "--budget", 0.5)
    assert refused.code == 3
    assert f"budget = 0.5 is refused, for {fall}. Give at least 0.70." in refused.complaint
    named = resight("predict", tmp_path / "bundle", phantom / "images", "--budget", 0.8, "--out", tmp_path / "p.csv")
    assert named.code == 0, named.err
    assert fall in " ".join(named.err.split())
