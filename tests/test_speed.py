"""Ratios of cheap rows of the speed table against floors far below what was measured: only a real loss fails."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import nibabel as nib
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from resight.evaluation import bootstrap
from resight.evaluation.discrimination import ranking
from resight.explain import build_explainer
from resight.heads.ridge import fit_ridge
from resight.imaging import read
from resight.imaging.png import inflated
from resight.models import Manifest, ModelOptions, Predictor, build_classifier, save_bundle, with_channels_last
from resight.preprocess import Recipe, Store
from resight.preprocess.geometry import fit, place
from resight.training import TrainingOptions
from resight.training.schedule import build_optimizer

Work = Callable[[], object]


def ratio(peer: Work, ours: Work, rounds: int = 5) -> float:
    """Processor time of the peer over ours: the median of pairs, both warm."""
    peer(), ours()
    pairs = [(_seconds(peer), _seconds(ours)) for _ in range(rounds)]
    return float(np.median([a / b for a, b in pairs]))


def _seconds(work: Work) -> float:
    start, count = time.process_time(), 0
    while (spent := time.process_time() - start) < 0.01 or not count:
        work()
        count += 1
    return spent / count


def test_output_weights_come_faster_than_by_lstsq(rng: np.random.Generator) -> None:
    H, T = np.tanh(rng.standard_normal((1000, 500))), rng.standard_normal((1000, 2))
    assert ratio(lambda: np.linalg.lstsq(H, T, rcond=None), lambda: fit_ridge(H, T, [1e-6])) > 2  # measured: 8.6


def test_a_path_of_penalties_comes_faster_than_one_by_one(rng: np.random.Generator) -> None:
    H, T, penalties = np.tanh(rng.standard_normal((600, 300))), rng.standard_normal((600, 2)), np.logspace(-3, 3, 8)

    def one_by_one() -> None:
        for penalty in penalties:
            np.linalg.solve(H.T @ H + penalty * np.eye(300), H.T @ T)

    assert ratio(one_by_one, lambda: fit_ridge(H, T, penalties.tolist())) > 2  # measured: 3.6


def test_bootstrap_is_far_faster_than_a_loop_over_scikit_learn(rng: np.random.Generator) -> None:
    targets, scores = rng.random(4000) < 0.1, rng.standard_normal(4000)
    patients, replicates, of_peer = np.arange(4000) // 2, 200, 5

    def loop() -> None:
        for _ in range(of_peer):
            rows = rng.integers(0, 4000, 4000)
            roc_auc_score(targets[rows], scores[rows])

    def ours() -> None:
        bootstrap([ranking(targets, scores).by_patient(patients, 2000)], 2000, replicates=replicates, seed=0)

    assert ratio(loop, ours) * replicates / of_peer > 8


def test_a_stored_image_comes_far_faster_than_a_decoded_one(tmp_path: Path, rng: np.random.Generator) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 256, (512, 512), dtype=np.uint8))
    recipe = Recipe(size_px=(224, 224))
    store = Store.build([tmp_path / "a.png"], recipe, tmp_path / "store", workers=1)
    assert ratio(lambda: recipe.prepare(tmp_path / "a.png"), lambda: np.array(store[0])) > 20


def test_maps_of_all_labels_cost_little_more_than_the_prediction() -> None:
    options = ModelOptions(backbone={"name": "resnet", "depth": 18})
    network = build_classifier(options, labels=tuple(map(str, range(14))), channels=1, dims=2).eval()
    images, explainer = torch.zeros(1, 1, 160, 160, dtype=torch.uint8), build_explainer("gradcam")

    def predict() -> None:
        with torch.inference_mode():
            network(images)

    found = ratio(predict, lambda: explainer.predict_and_explain(network, images))
    assert found > 0.65  # measured: 0.92; with a second forward pass: 0.49


def test_a_gzipped_volume_is_read_far_faster_than_by_nibabel(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("isal.isal_zlib")
    voxels = (np.cumsum(rng.integers(-9, 10, (40, 96, 96)), axis=2) + rng.integers(0, 8, (40, 96, 96))).astype(np.int16)
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    found = ratio(lambda: nib.load(path).get_fdata(dtype=np.float32), lambda: read(path))
    assert found > 1.2  # measured: 1.47; inflated by zlib: 1.04


def test_a_png_is_decoded_faster_with_its_pixels_inflated_before(rng: np.random.Generator) -> None:
    pytest.importorskip("isal.isal_zlib")
    smooth = np.cumsum(rng.integers(-2, 3, (512, 512)), axis=1).astype(np.uint8)
    data = cv2.imencode(".png", smooth)[1].tobytes()

    def decoded(content: bytes) -> None:
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)

    assert ratio(lambda: decoded(data), lambda: decoded(inflated(data))) > 1.1  # measured: 1.30


def test_a_single_prediction_costs_little_beside_reading_the_picture(tmp_path: Path, rng: np.random.Generator) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 256, (512, 512), dtype=np.uint8))
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 2})
    network = build_classifier(options, labels=("a",), channels=1, dims=2)
    recipe = Recipe(size_px=(224, 224))
    save_bundle(tmp_path / "b", network, Manifest(labels=("a",), task="binary", recipe=recipe, model=options))
    predictor = Predictor.load(tmp_path / "b")
    predictor.engine.logits = lambda prepared, *_: np.zeros((len(prepared), 1))  # type: ignore[method-assign]
    path = tmp_path / "a.png"
    assert ratio(lambda: predictor.prepare(path), lambda: predictor.predict(path)) > 0.35  # measured: 0.65


def test_a_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path, rng: np.random.Generator) -> None:
    smooth = cv2.resize(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), (1022, 767))
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth)
    recipe = Recipe(size_px=(224, 224), channels=3, resize="stretch")

    def whole() -> None:
        picture = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR)
        assert picture is not None
        cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)

    assert ratio(whole, lambda: recipe.prepare(tmp_path / "a.jpg")) > 1.2  # measured: 1.8; decoded whole: 0.9


def test_a_picture_is_averaged_faster_than_by_opencv(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (1251, 1023), dtype=np.uint8)
    axes = fit((1251, 1023), (224, 224), "stretch", spacing_mm=(np.nan, np.nan))
    found = ratio(
        lambda: cv2.resize(grey, (224, 224), interpolation=cv2.INTER_AREA),
        lambda: place(grey[None], axes),
    )
    assert found > 1.4  # measured: 2.0; by OpenCV itself: 1.0


def test_the_optimiser_does_not_copy_filters_in_channels_last_order() -> None:
    filters = with_channels_last(nn.Sequential(*(nn.Conv2d(512, 512, 3, bias=False) for _ in range(2))))
    for parameter in filters.parameters():
        parameter.grad = torch.zeros_like(parameter)
    plain = torch.optim.AdamW(filters.parameters(), fused=True)
    ours = build_optimizer(filters, TrainingOptions())
    assert ratio(plain.step, ours.step) > 1.5  # measured: 3.2


@pytest.fixture
def gpu_rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)  # other packages bring one of that name
    return importlib.import_module("benchmarks.speed.gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_rows_say_so(gpu_rows: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_rows.main([]) == 0
    assert capsys.readouterr().out == "no CUDA device here: row 18 is not measured\n"


@pytest.mark.slow
def test_the_rows_of_a_gpu_can_be_tried_on_a_processor(gpu_rows: ModuleType, tmp_path: Path) -> None:
    sizes = {"depth": 18, "batch": 4, "size": 32, "volume": 16, "steps": 2, "turns": 2, "images": 24, "matrix": 256}
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    gpu_rows.main(["--device", "cpu", "--workers", "0", "--no-compile", "--out", str(tmp_path), *words])
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert {"synthetic", "store", "store, augmented"} <= set(found["images_per_s"])
    assert found["share_of_synthetic"]["synthetic"] == 1
    work = 3 * 3.63e9 * (32 / 224) ** 2 / (found["matrix_tflops"] * 1e12)
    speed = found["images_per_s"]["store"]
    assert found["share_of_matrix_peak"]["store"] == pytest.approx(speed * work)
    assert "| store, augmented |" in (tmp_path / "cpu.md").read_text()


@pytest.mark.parametrize("times", [1, 8])
def test_the_guard_sees_a_loss(times: int) -> None:
    numbers = np.random.default_rng(0).random(20_000)

    def work() -> None:
        np.sort(numbers)

    def ours() -> None:
        for _ in range(times):
            work()

    assert 0.5 / times < ratio(work, ours) < 2 / times
