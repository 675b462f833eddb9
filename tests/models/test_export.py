"""Networks written for other engines: the same answers, sealed beside the bundle, and the price of coarser numbers."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from resight.errors import BundleError, DependencyError, ImageError, OutputError, SettingsError
from resight.evaluation import auroc_with_interval
from resight.models import Predictor, export_bundle, list_exports, load_bundle, read_export, save_bundle, verify_bundle
from resight.models.engine_openvino import OpenvinoEngine
from resight.models.graph import probe_images, write_graph
from resight.preprocess import Recipe
from resight.types import Cohort

EXPORTS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every export; not to be changed."""
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    shutil.copytree(Path(__file__).parents[1] / "golden" / "bundle_v1", folder)
    for engine, precision in EXPORTS:
        export_bundle(folder, engine, precision, calibration=list(_unseen(folder, 24)))
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "copy")
    return tmp_path / "copy"


def _unseen(folder: Path, count: int, seed: int = 1) -> np.ndarray:
    shape = (load_bundle(folder).manifest.channels, *load_bundle(folder).manifest.recipe.size_px)
    coarse = np.random.default_rng(seed).integers(0, 256, (count, shape[0], *(s // 4 for s in shape[1:])), np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


@pytest.mark.parametrize(("engine", "precision"), EXPORTS)
def test_engines_answer_as_the_network_does(exported: Path, engine: str, precision: str) -> None:
    images = _unseen(exported, 24, seed=2)
    expected = Predictor.load(exported).logits(images)
    chosen = Predictor.load(exported, engine=engine, precision=precision)
    found = chosen.logits(images)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.concatenate([chosen.logits(images[:1]), chosen.logits(images[1:])]), found, atol=1e-5)
    likeness = min(np.corrcoef(found.T, expected.T).diagonal(len(chosen.manifest.labels)))
    assert likeness > {"fp32": 1 - 1e-9, "bf16": 0.999, "int8": 0.9}[precision]
    if precision == "fp32":
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        assert likeness < 1 - 1e-9  # it really computes in coarser numbers


def test_openvino_keeps_float32_where_float32_was_asked_for(exported: Path) -> None:
    record = read_export(exported, "openvino-fp32", load_bundle(exported).manifest)
    coarse = read_export(exported, "openvino-bf16", load_bundle(exported).manifest)
    assert record.parity.max_logit_difference < coarse.parity.max_logit_difference


def test_a_bundle_with_exports_is_verified_with_them(copied: Path) -> None:
    assert list_exports(copied) == sorted("-".join(pair) for pair in EXPORTS)
    assert verify_bundle(copied) == []
    load_bundle(copied)


@pytest.mark.parametrize("file", ["model.bin", "model.xml", "export.json", "export.json.sha256"])
def test_any_changed_byte_of_an_export_is_found(copied: Path, file: str) -> None:
    path = copied / "engines" / "openvino-fp32" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = verify_bundle(copied)
    assert problem.startswith("engines/openvino-fp32: ")
    with pytest.raises(BundleError, match="changed"):
        Predictor.load(copied, engine="openvino")
    assert Predictor.load(copied, engine="onnx").engine.name == "onnx"


def test_a_missing_file_of_an_export_is_found(copied: Path) -> None:
    (copied / "engines" / "onnx-fp32" / "model.onnx").unlink()
    assert verify_bundle(copied) == ["engines/onnx-fp32: model.onnx is missing"]


def test_an_export_of_another_model_is_refused(copied: Path, bundle_folder: Path) -> None:
    shutil.copytree(copied / "engines", bundle_folder / "engines")
    assert all("exported from another model" in problem for problem in verify_bundle(bundle_folder))
    with pytest.raises(BundleError, match="another model"):
        Predictor.load(bundle_folder, engine="onnx")


@pytest.mark.parametrize("combination", ["mean_logits", pytest.param("mean_probabilities", marks=pytest.mark.slow)])
def test_ensembles_are_exported_as_one(tmp_path: Path, make_classifier, make_manifest, combination: str) -> None:
    members = [make_classifier(seed) for seed in (1, 2)]
    save_bundle(tmp_path / "pair", members, make_manifest(combination=combination))
    export_bundle(tmp_path / "pair", "onnx")
    images = _unseen(tmp_path / "pair", 3)
    found = Predictor.load(tmp_path / "pair", engine="onnx").logits(images)
    np.testing.assert_allclose(found, Predictor.load(tmp_path / "pair").logits(images), atol=1e-4)


@pytest.mark.slow
def test_networks_of_volumes_are_exported(tmp_path: Path, make_classifier, make_manifest) -> None:
    manifest = make_manifest(recipe=Recipe(size_px=(16, 16, 16)))
    save_bundle(tmp_path / "volumes", make_classifier(dims=3), manifest)
    record = export_bundle(tmp_path / "volumes", "openvino")
    assert record.input_shape == (1, 16, 16, 16)
    volumes = probe_images((1, 16, 16, 16), 2)
    found = Predictor.load(tmp_path / "volumes", engine="openvino").logits(volumes)
    np.testing.assert_allclose(found, Predictor.load(tmp_path / "volumes").logits(volumes), atol=1e-4)


def test_impossible_wishes_are_refused(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no bf16 convolutions.*expected fp32, int8"):
        export_bundle(copied, "onnx", "bf16")
    with pytest.raises(SettingsError, match=r"unknown engine 'onx'.*'onnx'"):
        export_bundle(copied, "onx")
    with pytest.raises(OutputError, match="exists already"):
        export_bundle(copied, "onnx")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SettingsError, match="int8 without calibration images"):
        export_bundle(copied, "onnx", "int8", calibration=[tmp_path / "broken.png"], replace=True)
    assert verify_bundle(copied) == []


@pytest.mark.slow
def test_a_failed_export_leaves_the_old_one(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (copied / "engines" / "openvino-fp32" / "export.json").read_bytes()
    monkeypatch.setattr(OpenvinoEngine, "logits", lambda self, prepared: np.full((len(prepared), 2), 7.0))
    with pytest.raises(BundleError, match="the exported network's logits differ by"):
        export_bundle(copied, "openvino", replace=True)
    assert (copied / "engines" / "openvino-fp32" / "export.json").read_bytes() == before
    assert sorted(p.name for p in (copied / "engines").iterdir()) == list_exports(copied)
    monkeypatch.undo()
    export_bundle(copied, "openvino", replace=True)
    assert verify_bundle(copied) == []


def test_without_the_library_one_line_says_how_to_get_it(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nncf", None)
    with pytest.raises(DependencyError, match=r"pip install 'resight\[export\]'"):
        export_bundle(copied, "onnx", "int8", calibration=list(_unseen(copied, 2)), replace=True)


class _Stops(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        values = images.float().mean(dim=(1, 2, 3))
        return values[:, None] if values.sum() > 0 else -values[:, None]


def test_a_network_whose_path_depends_on_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written as one graph") as caught:
        write_graph(_Stops().eval(), (1, 8, 8), tmp_path / "graph.onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.fixture
def labelled(tmp_path: Path, exported: Path) -> Cohort:
    """Images of the phantom kind, with labels that the network partly knows: its own answers, some of them turned."""
    images = _unseen(exported, 40, seed=3)
    labels = load_bundle(exported).manifest.labels
    logits = Predictor.load(exported).logits(images)
    targets = (logits > np.median(logits, axis=0)).astype(float)
    targets[::4] = 1 - targets[::4]
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image[0])
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(40)], "patient_id": [f"p{i // 2}" for i in range(40)]})
    table[list(labels)] = targets
    return Cohort(table, labels, "multilabel", tmp_path, "labelled")


def test_the_price_of_an_export_is_measured_by_patient(
    copied: Path, labelled: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = export_bundle(copied, "openvino", "fp32", judged_on=labelled, replace=True)
    assert record.comparison is not None
    assert (record.comparison["images"], record.comparison["patients"]) == (40, 20)
    assert record.auroc_loss() == pytest.approx(0, abs=1e-9)
    assert record.comparison["changed_decisions"] in (0, None)
    original = OpenvinoEngine.logits
    monkeypatch.setattr(OpenvinoEngine, "logits", lambda self, prepared: -original(self, prepared))
    turned = export_bundle(copied, "openvino", "bf16", judged_on=labelled, replace=True)
    stored = json.loads((copied / "engines" / "openvino-bf16" / "export.json").read_text())["comparison"]
    assert turned.comparison == stored
    for label in labelled.labels:
        before, after = (stored["auroc"][label][key]["value"] for key in ("before", "after"))
        own = auroc_with_interval(labelled.table[label].to_numpy(), _scores(copied, labelled, label))
        assert before == pytest.approx(own.value)
        assert after == pytest.approx(1 - before, abs=0.02)
        change = stored["auroc"][label]["change"]
        assert change["low"] < change["value"] < change["high"] < 0
    assert turned.auroc_loss() > 0.1


def _scores(bundle: Path, cohort: Cohort, label: str) -> np.ndarray:
    table = Predictor.load(bundle).predict(cohort.paths)
    return table.array("score")[:, table.labels.index(label)]


def test_a_cohort_that_does_not_fit_is_refused(copied: Path, labelled: Cohort) -> None:
    other = dataclasses.replace(labelled, labels=("Other",))
    with pytest.raises(SettingsError, match="labels Other; expected those of the model"):
        export_bundle(copied, "onnx", judged_on=other, replace=True)
    for path in labelled.paths:
        path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match="none of the images with a reference standard can be read"):
        export_bundle(copied, "onnx", judged_on=labelled, replace=True)


def test_probe_images_are_the_same_everywhere() -> None:
    probes = probe_images((1, 20, 12), 3)
    assert probes.shape == (3, 1, 20, 12)
    assert probes.dtype == np.uint8
    assert int(probes.astype(np.int64).sum()) == int(probe_images((1, 20, 12), 3).astype(np.int64).sum())
    assert torch.from_numpy(probes).float().std() > 30
