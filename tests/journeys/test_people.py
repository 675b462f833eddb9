"""From a predictions table to a team, a reader study and a worklist, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resight.cli.main import main

N = 240


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    target = (rng.random(N) < 0.4).astype(int)
    probability = np.clip(target * 0.5 + rng.random(N) * 0.5, 0, 1)
    names = [f"{i:03d}.png" for i in range(N)]
    split = np.where(np.arange(N) < N // 2, "validation", "test")
    predictions = pd.DataFrame({"image": names, "patient_id": names, "split": split, "label": "Mass"})
    predictions = predictions.assign(probability=probability, decision=(probability > 0.5) * 1, target=target)
    predictions.to_csv(tmp_path / "p.csv", index=False)
    parts = []
    for reader in ("anna", "ben", "cleo"):
        for arm, skill in (("unaided", 0.8), ("aided", 0.9)):
            decision = np.where(rng.random(N) < skill, target, 1 - target)
            rating = decision + rng.normal(0, 0.3, N)
            parts.append(
                pd.DataFrame({"image": names, "reader": reader, "arm": arm, "decision": decision, "rating": rating})
            )
    pd.concat(parts).to_csv(tmp_path / "r.csv", index=False)
    return tmp_path / "p.csv", tmp_path / "r.csv"


def test_a_team_is_judged(tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, readings = map(str, tables)
    page, out = tmp_path / "team.html", tmp_path / "team.json"
    words = ["defer", predictions, readings, "--bootstrap", "50", "--report", str(page), "--out", str(out)]
    assert main([*words, "--policy", "band", "--option", "rule_out_sensitivity=0.9"]) == 0
    assert "team - readers" in capsys.readouterr().out
    assert json.loads(out.read_text())[0]["policy"] == "band"
    assert "Together" in page.read_text()
    assert main(words) == 7  # nothing is overwritten
    assert main(["defer", predictions, readings, "--policy", "magic"]) == 3
    assert main(["defer", predictions, readings, "--tune", "train"]) == 4


def test_a_study_is_planned_and_analysed(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, readings = map(str, tables)
    plan = tmp_path / "plan.csv"
    given = ["--readers", "anna", "--readers", "ben", "--split", "test", "--out", str(plan)]
    assert main(["readerstudy", "design", predictions, *given]) == 0
    assert len(pd.read_csv(plan)) == 2 * 2 * N // 2
    assert main(["readerstudy", "analyse", readings, predictions, "--bootstrap", "20", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert set(result["figures"]) == {"auroc", "sensitivity", "specificity"}
    assert main(["readerstudy", "analyse", readings, predictions, "--label", "Nodule"]) == 4


def test_a_worklist_is_simulated(tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = str(tables[0])
    given = ["--option", "studies=200", "--option", "repetitions=3", "--report", str(tmp_path / "w.html")]
    assert main(["worklist", predictions, *given]) == 0
    assert "flagged first" in capsys.readouterr().out
    assert "Minutes to the report" in (tmp_path / "w.html").read_text()
    assert main(["worklist", predictions, "--readers", "1", "--arrivals", "60"]) == 4
    assert main(["worklist", predictions, "--option", "reders=3"]) == 3
