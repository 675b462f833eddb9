"""A network that is told which volumes are ill finds where: planted lesions of the brain, from files to evidence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from resight.explain import References, build_explainer, centre_map, localise
from resight.imaging import read
from resight.models import load_bundle

SETTINGS = Path(__file__).parents[2] / "benchmarks" / "experiments" / "volume_mr.toml"
GRID = ("--set", "recipe.size_px=[28, 32, 28]", "--set", "recipe.spacing_mm=[6.5, 6.5, 6.5]")
QUICK = ("--set", "training.epochs=6", "--set", "evaluation.bootstrap=100")


@pytest.mark.slow
def test_planted_lesions_are_found_and_pointed_at(resight, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    drawn = ("--option", "volumes=240", "--option", "masks=true", "--option", "in_plane_mm=[3.0, 3.0]")
    assert resight("data", "phantom", cohort, "--kind", "mr", *drawn).code == 0
    where = ("--set", f"cohort.path={cohort / 'cohort.csv'}", "--set", "report.examples=0")
    answer = resight("train", SETTINGS, "--out", tmp_path / "run", *GRID, *QUICK, *where)
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["labels"][0]["metrics"]["auroc"]["value"] >= 0.95

    bundle = load_bundle(tmp_path / "run" / "bundle")
    recipe = bundle.manifest.recipe
    table = pd.read_csv(cohort / "cohort.csv")
    ill = table[(table["lesion"] == 1) & (table["split"] == "test")]
    drawn, images, masks = References.read(cohort / "masks"), [], []
    for name in ill["image"]:
        image = read(cohort / name, voi=recipe.voi)
        images.append(recipe.apply(image))
        masks.extend(drawn.on_prepared_grid(name, image, recipe, ("lesion",)))
    found = build_explainer("gradcam++", stage=-2).explain(bundle.model, torch.from_numpy(np.stack(images)))
    pointing = localise(found[:, 0].numpy(), np.stack(masks), tolerance_px=1.0).pointing
    centre = np.broadcast_to(centre_map(masks[0].shape), np.stack(masks).shape)
    assert pointing.value >= 0.8
    assert localise(centre, np.stack(masks), tolerance_px=1.0).pointing.value < 0.3
