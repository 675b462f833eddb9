"""A graph that tells bright from dark, written here, ranks labels by their embeddings; wrong graphs are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from resight.cohorts import CohortOptions, load_cohort
from resight.errors import BundleError, CohortError, SettingsError
from resight.fewshot import ImageEncoder, ImageEncoderOptions, judge_descriptions, read_embeddings

PLAIN = ImageEncoderOptions(size_px=8, mean=(0.5,), std=(0.5,))
FLOAT, BYTE = TensorProto.FLOAT, TensorProto.UINT8


def write_graph(
    path: Path,
    *,
    shape: tuple[int | str, ...] = ("batch", 3, 8, 8),
    kind: int = FLOAT,
    inputs: int = 1,
    pooled: bool = True,
) -> Path:
    """Mean of each channel; the embedding of an image is its colour."""
    if pooled:
        nodes = [helper.make_node("ReduceMean", ["x0"], ["y"], axes=[2, 3], keepdims=0)]
    else:
        nodes = [helper.make_node("Identity", ["x0"], ["y"])]
    taken = [helper.make_tensor_value_info(f"x{i}", kind, shape) for i in range(inputs)]
    given = helper.make_tensor_value_info("y", kind, (shape[0], 3) if pooled else shape)
    graph = helper.make_graph(nodes, "colour", taken, [given])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Red and blue pictures."""
    rows = []
    for number in range(16):
        colour = (200, 60, 60) if number % 2 else (60, 60, 200)
        picture = np.clip(np.full((8, 8, 3), colour) + number, 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture[..., ::-1])
        rows.append({"image": f"{number}.png", "patient_id": f"p{number}", "red": number % 2, "blue": 1 - number % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path / "cohort.csv"


def embeddings(path: Path, red: tuple[float, ...] = (1, -1, -1)) -> Path:
    rows = [("red", *red), ("blue", -1, -1, 1), ("blue", -2, -2, 3)]
    pd.DataFrame(rows, columns=["label", *"rgb"[: len(red)]]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (1, 3, 8, 8), ("batch", 3, "height", "width")])
def test_labels_are_found_by_their_embeddings(cohort: Path, tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    loaded = load_cohort(CohortOptions(path=cohort, labels=("red", "blue")))
    encoder = ImageEncoder(write_graph(tmp_path / "image.onnx", shape=shape), PLAIN)
    found = encoder.cohort(loaded)
    assert found.features.shape == (16, 3)
    np.testing.assert_allclose(found.features[1], [(201 / 255 - 0.5) / 0.5, *[(61 / 255 - 0.5) / 0.5] * 2], rtol=1e-5)
    vectors = read_embeddings(embeddings(tmp_path / "text.csv"), loaded.labels)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    judged = judge_descriptions(found.features, loaded.targets(), loaded.labels, vectors, found.patients)
    assert [(one.label, one.auroc.value) for one in judged] == [("red", 1.0), ("blue", 1.0)]
    swapped = judge_descriptions(found.features, loaded.targets(), loaded.labels, vectors[::-1], found.patients)
    assert [one.auroc.value for one in swapped] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ({"inputs": 2}, r"2 inputs \(x0, x1\); expected images alone"),
        ({"shape": ("batch", 3)}, r"expected tensor\(float\) \(B, 1 or 3, H, W\)"),
        ({"kind": BYTE, "pooled": False}, r"tensor\(uint8\)"),
        ({"pooled": False}, "one embedding an image"),
    ],
)
def test_graphs_that_are_no_image_encoders_are_refused(graph: dict[str, object], said: str, tmp_path: Path) -> None:
    if graph.get("shape") == ("batch", 3):
        graph = {**graph, "pooled": False}
    with pytest.raises(BundleError, match=said):
        ImageEncoder(write_graph(tmp_path / "image.onnx", **graph), PLAIN)  # type: ignore[arg-type]


def test_files_and_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        ImageEncoder(tmp_path / "none.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="ONNX Runtime cannot read it"):
        ImageEncoder(tmp_path / "junk.onnx")
    graph = write_graph(tmp_path / "image.onnx")
    with pytest.raises(SettingsError, match="2 means and 1 standard deviations"):
        ImageEncoder(graph, ImageEncoderOptions(mean=(0.5, 0.5), std=(1.0,)))
    with pytest.raises(SettingsError, match=r"std = 0\.0"):
        ImageEncoder(graph, ImageEncoderOptions(mean=(0.5,), std=(0.0,)))


def test_embeddings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no embedding of 'green'"):
        read_embeddings(embeddings(tmp_path / "a.csv"), ("red", "green"))
    pd.DataFrame({"label": ["red"], "x": ["much"]}).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(CohortError, match="not numbers"):
        read_embeddings(tmp_path / "b.csv", ("red",))
    with pytest.raises(CohortError, match="2 numbers a label and 3 an image"):
        judge_descriptions(np.ones((4, 3)), np.eye(4)[:, :2], ("a", "b"), np.eye(2), np.arange(4))
