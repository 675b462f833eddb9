"""What the real cohorts are known to hide is found and said."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest


def test_the_split_that_comes_with_the_chest_sample_leaks(resight, real_data) -> None:
    folder = real_data("cxr_nih14_1000")
    answer = resight("data", "leakcheck", folder, "--split-column", "source_split", "--without-images", "--json")
    assert answer.code == 4
    assert answer.json()["shared"]["patients"] == 30


@pytest.mark.slow
def test_the_brain_slices_give_themselves_away(resight, real_data, tmp_path: Path) -> None:
    folder = real_data("brain_mri_tumour_nickparvar")
    answer = resight("data", "leakcheck", folder, "--clusters", tmp_path / "clusters.csv", "--json")
    assert answer.code in (0, 4)
    told = json.dumps(answer.json()["findings"])
    assert "colour_mode" in told
    clusters = pd.read_csv(tmp_path / "clusters.csv")
    assert clusters["cluster"].nunique() < len(clusters) - 20


@pytest.mark.slow
def test_official_lists_say_which_labels_cannot_be_estimated(resight, real_data, tmp_path: Path) -> None:
    folder, lists = real_data("cxr_nih14_1000"), real_data("chestxray14_metadata")
    settings = tmp_path / "official.toml"
    settings.write_text(
        f'cohort.path = "{folder}"\nrecipe.size_px = [32, 32]\n'
        f'[split.lists]\ntrain_val = "{lists / "train_val_list.txt.gz"}"\ntest = "{lists / "test_list.txt.gz"}"\n'
        '[model.backbone]\ndepth = 10\nwidth = 16\nstem = "cifar"\n'
    )
    answer = resight("train", settings, "--out", tmp_path / "run", "--smoke", "--set", "report.examples=0")
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["evaluated_on"] == "test"
    for label in metrics["labels"]:
        counts, auroc = label["counts"], label["metrics"]["auroc"]
        if not (counts["positives"] and counts["negatives"]):
            assert auroc["value"] is None
            assert auroc["undefined_because"]
            assert any(label["label"] in note and "not estimable" in note for note in metrics["notes"])
