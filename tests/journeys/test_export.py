"""From a run to an engine, as a user walks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from resight.predictions import Predictions


def test_a_run_is_exported_predicted_with_and_verified(
    resight, run_folder: Path, phantom: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    record = resight("export", run, "--to", "openvino", "--precision", "int8", "--json").json()
    assert record["calibration_images"] > 0
    tested = Predictions.read(run / "predictions.csv").images()
    assert record["comparison"]["images"] == int((tested["split"] == "test").sum())
    assert set(record["comparison"]["auroc"]) == {"Cardiomegaly", "Effusion"}
    assert resight("verify", run).code == 0
    again = resight("export", run, "--to", "openvino", "--precision", "int8")
    assert (again.code, "Give --force" in again.complaint) == (7, True)

    images = [phantom / name for name in tested["image"].head(4)]
    assert resight("predict", run, *images, "--out", tmp_path / "torch.csv", "--engine", "torch").code == 0
    chosen = resight(
        "predict", run, *images, "--out", tmp_path / "int8.csv", "--engine", "openvino", "--precision", "int8"
    )
    assert chosen.code == 0
    torch, int8 = (Predictions.read(tmp_path / f"{name}.csv").array("logit") for name in ("torch", "int8"))
    assert 0 < np.abs(torch - int8).max() <= record["parity"]["limit"] + record["comparison"]["max_logit_difference"]
    automatic = resight("predict", run, *images, "--precision", "int8", "--out", tmp_path / "auto.csv")
    assert "answers; speed against torch fp32: torch bf16" in automatic.err

    weights = run / "bundle" / "engines" / "openvino-int8" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert resight("verify", run).code == 5
    fallen_back = resight("predict", run, images[0], "--precision", "int8")
    assert fallen_back.code == 0
    assert "openvino-int8 is passed over: model.bin was changed" in fallen_back.err


@pytest.mark.slow
def test_a_cohort_can_be_named(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run_folder / "bundle", bundle)
    options = ("--cohort", phantom / "cohort.csv", "--option", "labels=['Effusion', 'Cardiomegaly']")
    record = resight("export", bundle, "--to", "onnx", *options, "--split", "test", "--json").json()
    assert record["comparison"]["macro_auroc_change"]["value"] == 0
    shown = resight("export", bundle, "--to", "onnx", "--force")
    assert "largest logit difference, artificial images" in shown.out
    missing = resight("export", bundle, "--to", "onnx", "--force", *options, "--split", "tset")
    assert (missing.code, "no rows of the split 'tset'" in missing.complaint) == (4, True)
    plain = resight("export", bundle, "--to", "openvino", "--precision", "int8")
    assert (plain.code, "int8 without calibration images" in plain.complaint) == (3, True)
