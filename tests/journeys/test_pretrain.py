"""Weights that no label has shaped, and a run that starts from them."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

VIEWS = ("--set", "augmentation.crop=0.5", "--set", "augmentation.gain=0.3")


def test_a_run_starts_from_pretrained_weights(resight, experiment: Path, tmp_path: Path) -> None:
    given = ("--set", "training.epochs=1", *VIEWS)
    answer = resight("pretrain", experiment, "--out", tmp_path / "pre", *given, "--json")
    assert answer.code == 0, answer.err
    assert len(answer.json()["similarity"]) == 1
    weights = tmp_path / "pre" / "backbone.safetensors"
    started = resight("train", experiment, "--out", tmp_path / "run", "--set", f"model.weights={weights}", "--smoke")
    assert started.code == 0, started.err
    trained = load_file(tmp_path / "run" / "bundle" / "model.safetensors")
    first = load_file(weights)["conv1.weight"]
    assert (trained["backbone.conv1.weight"] - first).abs().mean() < 0.5 * first.abs().mean()
    assert resight("pretrain", experiment, "--out", tmp_path / "pre", *given).code == 7
    assert resight("pretrain", experiment, "--out", tmp_path / "plain").code == 3
