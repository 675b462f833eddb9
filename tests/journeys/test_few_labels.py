"""A bundle as a feature extractor: a handful of labels, and none."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pandas as pd
import pytest
from safetensors.torch import load_file

from resight.fewshot import draw_episode


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
    """Which labels the network was taught is told: only a label that is new to it as well is one that nothing saw."""
    attributes = pd.DataFrame({"label": ["Cardiomegaly", "Effusion", "Either"], "heart": [1, 0, 1], "fluid": [0, 1, 1]})
    attributes.to_csv(tmp_path / "d.csv", index=False)
    table = pd.read_csv(phantom / "cohort.csv")
    table["Either"] = table[["Cardiomegaly", "Effusion"]].max(axis=1)
    cohort = phantom / "either.csv"
    table.to_csv(cohort, index=False)
    given = ("--option", "split_column=split", "--descriptions", tmp_path / "d.csv")
    answer = resight("zeroshot", run_folder, cohort, "--labels", *attributes["label"], *given, "--json")
    assert answer.code == 0, answer.err
    found = answer.json()
    assert [one["new_to_network"] for one in found["labels"]] == [False, False, True]
    assert found["mean_new"]["value"] == found["labels"][2]["auroc"]["value"]
    assert found["mean_unseen"]["interval"] == "t over labels"
    shown = resight("zeroshot", run_folder, cohort, "--labels", *attributes["label"], *given)
    assert "mean of the labels that are new to the network as well: " in shown.err
    few = resight("zeroshot", run_folder, cohort, "--labels", "Cardiomegaly", "Effusion", *given)
    assert few.code == 4
    assert "2 labels; expected 3 at least: 2 seen and 1 unseen" in few.complaint


def test_a_backbone_is_fine_tuned_by_episodes(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    weights = tmp_path / "tuned.safetensors"
    given = (phantom / "cohort.csv", "--labels", "Effusion", "--option", "split_column=split", "--method", "prototype")
    short = ("--episodes", 5, "--shots", 2, "--queries", 3, "--json")
    plain = resight("fewshot", run_folder, *given, *short)
    tuned = resight("fewshot", run_folder, *given, *short, "--finetune", 40, "--weights", weights)
    assert (plain.code, tuned.code) == (0, 0), plain.err + tuned.err
    assert "fine-tuned on" in tuned.err
    assert plain.json()["prototype"]["auroc"] != tuned.json()["prototype"]["auroc"]
    trained = load_file(run_folder / "bundle" / "model.safetensors")["backbone.conv1.weight"]
    assert 0 < (load_file(weights)["conv1.weight"] - trained).abs().max() < 0.05
    assert resight("fewshot", run_folder, *given, *short, "--weights", weights).code == 3


def test_fine_tuning_that_is_interrupted_leaves_nothing_behind(
    resight, run_folder: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (phantom / "cohort.csv", "--labels", "Effusion", "--option", "split_column=split", "--method", "prototype")
    short = ("--episodes", 5, "--shots", 2, "--queries", 3, "--finetune", 40)
    drawn = []

    def draw(*arguments: object) -> object:
        drawn.append(arguments)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw_episode(*arguments)

    monkeypatch.setattr(sys.modules["resight.fewshot.finetune"], "draw_episode", draw)
    before = (run_folder / "bundle" / "model.safetensors").read_bytes()
    out = ("--weights", tmp_path / "tuned.safetensors", "--out", tmp_path / "found.json")
    assert resight("fewshot", run_folder, *given, *short, *out).code == 130
    assert list(tmp_path.iterdir()) == []
    assert (run_folder / "bundle" / "model.safetensors").read_bytes() == before
    (tmp_path / "found.json").write_text("kept")
    taken = resight("fewshot", run_folder, *given, *short, *out)
    assert (taken.code, len(drawn)) == (7, 4), "told before the first episode, not after the last"
    assert "exists already" in taken.complaint


def test_an_image_encoder_comes_from_a_file(resight, run_folder: Path, phantom: Path, tmp_path: Path) -> None:
    """Which of the two doors is meant is said by the file; each wants its own table."""
    graph, table = tmp_path / "image.onnx", tmp_path / "text.csv"
    mean = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ("b", 3, 32, 32)), ("y", ("b", 3)))
    ]
    model = onnx.helper.make_graph([mean], "colour", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(model, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), graph)
    pd.DataFrame({"label": ["Cardiomegaly", "Effusion"], "a": [1, 0], "b": [0, 1], "c": [0, 1]}).to_csv(
        table, index=False
    )
    cohort = (phantom / "cohort.csv", "--labels", "Cardiomegaly", "Effusion")
    answer = resight("zeroshot", graph, *cohort, "--text-embeddings", table, "--json")
    assert answer.code == 0, answer.err
    assert [one["label"] for one in answer.json()["labels"]] == ["Cardiomegaly", "Effusion"]
    assert resight("zeroshot", graph, *cohort, "--descriptions", table).code == 3
    assert resight("zeroshot", run_folder, *cohort, "--text-embeddings", table).code == 3
    assert resight("zeroshot", tmp_path / "none.onnx", *cohort, "--text-embeddings", table).code == 5
