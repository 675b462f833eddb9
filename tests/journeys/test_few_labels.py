"""A bundle as a feature extractor: a handful of labels, and none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def test_a_bundle_is_judged_by_episodes(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    cohort = phantom / "without_split.csv"
    pd.read_csv(phantom / "cohort.csv").drop(columns="split").to_csv(cohort, index=False)
    given = ("--episodes", 20, "--shots", 2, "--queries", 3, "--method", "simpleshot", "--method", "linear_probe")
    answer = resight("fewshot", run_folder, cohort, *given, "--json")
    assert answer.code == 0, answer.err
    assert set(answer.json()) == {"simpleshot", "linear_probe"}
    rare = resight("fewshot", run_folder, cohort, "--rare", "--shots", 2, "--draws", 5, "--json")
    assert rare.code == 0, rare.err
    assert resight("fewshot", run_folder, cohort, "--shots", 500).code == 4
    assert resight("fewshot", run_folder, cohort, "--method", "guess").code == 3


def test_labels_are_judged_by_their_descriptions(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    labels = pd.read_csv(run_folder / "predictions.csv")["label"].unique()
    attributes = pd.DataFrame(np.eye(len(labels)), columns=[f"x{i}" for i in range(len(labels))])
    attributes.insert(0, "label", labels)
    attributes.to_csv(tmp_path / "d.csv", index=False)
    chosen = [word for label in labels for word in ("--labels", label)]
    answer = resight(
        "zeroshot", run_folder, phantom / "cohort.csv", *chosen, "--descriptions", tmp_path / "d.csv", "--json"
    )
    assert answer.code == (0 if len(labels) >= 3 else 4), answer.err
