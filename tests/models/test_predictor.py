"""From files, arrays and folders to the predictions table."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit

import resight
from resight.errors import BundleError, CohortError, SettingsError
from resight.evaluation import (
    BudgetPoint,
    Budgets,
    Calibration,
    Conformal,
    GroupRule,
    LabelCalibration,
    OperatingPoint,
    OperatingRule,
)
from resight.models import Manifest, ModelOptions, Predictor, build_classifier, load_bundle, save_bundle
from resight.preprocess import Recipe
from resight.types import Image


@pytest.fixture
def predictor(bundle_folder: Path) -> Predictor:
    return Predictor.load(bundle_folder)


@pytest.fixture
def pictures(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    names = ["b.png", "a.png", "deeper/c.png", "d.png", "e.png"]
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (40, 50), dtype=np.uint8))
    return [folder / name for name in names]


def test_rows_are_those_of_the_network_in_the_order_of_the_input(predictor: Predictor, pictures: list[Path]) -> None:
    table = predictor.predict(pictures, batch=2).table
    assert table["image"].tolist() == [str(path) for path in pictures for _ in range(2)]
    assert table["label"].tolist() == ["effusion", "nodule"] * 5
    recipe = predictor.manifest.recipe
    images = torch.from_numpy(np.stack([recipe.prepare(path) for path in pictures]))
    with torch.no_grad():
        logits = predictor.model(images).numpy()
    np.testing.assert_allclose(table["logit"].to_numpy().reshape(5, 2), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(table["score"], 1 / (1 + np.exp(-table["logit"])))
    assert table["error"].isna().all()
    assert (table["alerts"] == "").all()
    assert "probability" not in table.columns


def test_batch_size_workers_and_kind_of_source_do_not_matter(predictor: Predictor, pictures: list[Path]) -> None:
    expected = predictor.predict(pictures, batch=1, workers=1).array("logit")
    arrays = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in pictures]
    images = [Image(a[None], (1.0, 1.0), "OT", f"image {i}") for i, a in enumerate(arrays)]
    sources = {
        "together": predictor.predict(pictures, batch=64, workers=4),
        "strings": predictor.predict([str(path) for path in pictures]),
        "arrays": predictor.predict(arrays),
        "with a channel axis": predictor.predict([a[None] for a in arrays]),
        "floats": predictor.predict([a / 255.0 for a in arrays]),
        "a generator": predictor.predict(path for path in pictures),
        "images": predictor.predict(images),
    }
    for name, predictions in sources.items():
        np.testing.assert_allclose(predictions.array("logit"), expected, rtol=1e-3, atol=1e-4, err_msg=name)
    assert sources["arrays"].images()["image"].tolist() == [f"array_{i}" for i in range(5)]
    assert sources["images"].images()["image"].tolist() == [f"image {i}" for i in range(5)]


def test_a_folder_is_opened_and_a_single_source_is_enough(predictor: Predictor, pictures: list[Path]) -> None:
    names = predictor.predict(pictures[0].parent).images()["image"].tolist()
    assert names == ["a.png", "b.png", "d.png", "deeper/c.png", "e.png"]
    assert predictor.predict([pictures[0].parent]).images()["image"].tolist() == names
    two = predictor.predict([pictures[0].parent, pictures[2].parent]).images()["image"].tolist()
    assert two == [str(pictures[0].parent / name) for name in (*names, "deeper/c.png")]
    assert len(predictor.predict(pictures[0])) == 1
    assert len(predictor.predict(np.zeros((8, 8), np.uint8))) == 1


def test_a_broken_image_becomes_rows_with_its_error(predictor: Predictor, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(pictures[0].read_bytes()[:100])
    absent = tmp_path / "absent.png"
    sources = [pictures[0], tmp_path / "broken.png", pictures[1], absent, np.zeros((3, 3, 3, 3)), np.full((5, 5), 7.0)]
    alone = predictor.predict([pictures[0], pictures[1]])
    predictions = predictor.predict(sources, batch=2)
    failed = [False, True, False, True, True, True]
    errors = predictions.table["error"].iloc[::2]
    assert errors.notna().tolist() == failed
    assert np.isnan(predictions.array("logit")).all(axis=1).tolist() == failed
    assert np.isnan(predictions.array("decision")).all(axis=1).tolist() == failed
    np.testing.assert_allclose(predictions.array("logit")[[0, 2]], alone.array("logit"), rtol=1e-4, atol=1e-5)
    assert str(absent) in str(errors.iloc[3])
    assert "values from 7 to 7" in str(errors.iloc[5])


@pytest.mark.parametrize(
    "array", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int16), np.zeros((0, 8), np.uint8)]
)
def test_arrays_that_are_no_images_are_named(predictor: Predictor, array: np.ndarray) -> None:
    error = predictor.predict([array]).table["error"].iloc[0]
    assert error.startswith("array_0: an array of")


def test_all_broken_and_nothing_at_all_still_give_a_table(predictor: Predictor, tmp_path: Path) -> None:
    assert len(predictor.predict([])) == 0
    (tmp_path / "empty").mkdir()
    table = predictor.predict(tmp_path / "empty").table
    assert table["error"].notna().all()
    assert len(table) == 2


def test_probabilities_are_calibrated_and_decisions_made_on_them(
    tmp_path: Path, make_classifier, make_manifest, calibration: Calibration, pictures: list[Path]
) -> None:
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest(calibration=calibration))
    predictor = Predictor.load(tmp_path / "bundle")
    predictions = predictor.predict(pictures)
    table = predictions.table
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(1 - 2 * table["logit"])))
    assert table["decision"].tolist() == (table["probability"] >= 0.5).astype(float).tolist()
    assert predictor.operating_points == ("youden", "all")
    everything = predictor.predict(pictures, operating_point="all").table
    assert everything["decision"].eq(1).all()
    assert everything["operating_point"].eq("all").all()
    with pytest.raises(SettingsError, match="Did you mean 'youden'"):
        predictor.predict(pictures, operating_point="Yuden")


def test_without_operating_points_there_are_no_decisions(
    tmp_path: Path, make_classifier, make_manifest, pictures: list[Path]
) -> None:
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest(operating_points=(), task="multiclass"))
    predictions = Predictor.load(tmp_path / "bundle").predict(pictures)
    assert "decision" not in predictions.table.columns
    np.testing.assert_allclose(predictions.array("score").sum(axis=1), 1)


def test_sentinels_raise_alerts(tmp_path: Path, make_classifier, make_manifest, sentinels, rng) -> None:
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest(sentinels=sentinels.to_dict()))
    predictor = Predictor.load(tmp_path / "bundle")
    ramp = np.linspace(40, 200, 32)[:, None] + np.linspace(0, 30, 32) + rng.normal(0, 8, (32, 32))
    usual = np.clip(ramp, 0, 255).astype(np.uint8)
    table = predictor.predict([usual, np.full((32, 32), 9, np.uint8)]).table
    assert table["alerts"].iloc[0] == ""
    assert "constant" in table["alerts"].iloc[2]


def test_sentinels_of_another_version_are_refused(tmp_path: Path, make_classifier, make_manifest) -> None:
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest(sentinels={"cohort": {"unheard of": 1}}))
    with pytest.raises(BundleError, match="sentinels cannot be used"):
        Predictor.load(tmp_path / "bundle")


def test_memory_does_not_grow_with_the_number_of_images(predictor: Predictor) -> None:
    def peak(count: int) -> int:
        def images() -> Iterator[np.ndarray]:
            return (np.zeros((500, 500), np.uint8) for _ in range(count))

        gc.collect()
        tracemalloc.start()
        predictor.predict(images(), batch=4)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)
    grown = min(peak(64) for _ in range(3))  # threads of other tests may still be at work and are counted too
    assert grown - peak(12) < 10 * 250_000  # 52 more images of 250 kB each would be 13 MB


def test_progress_is_told(predictor: Predictor, pictures: list[Path]) -> None:
    seen: list[tuple[str, int, int, str]] = []
    predictor.predict(pictures, batch=2, progress=lambda *told: seen.append(told))
    assert [(done, total) for _, done, total, _ in seen] == [(2, 5), (4, 5), (5, 5)]
    seen.clear()
    predictor.predict(pictures[0].parent, batch=3, progress=lambda *told: seen.append(told))
    predictor.predict((path for path in pictures), batch=3, progress=lambda *told: seen.append(told))
    assert [(done, total) for _, done, total, _ in seen] == [(3, 5), (5, 5), (3, 0), (5, 0)]


def test_bf16_stays_near_fp32(bundle_folder: Path, predictor: Predictor, pictures: list[Path]) -> None:
    rounded = Predictor.load(bundle_folder, precision="bf16").predict(pictures).array("score")
    np.testing.assert_allclose(rounded, predictor.predict(pictures).array("score"), atol=0.02)


def test_ensembles_and_volumes_predict(tmp_path: Path, make_classifier, make_manifest) -> None:
    members = [make_classifier(seed, dims=3) for seed in (0, 1)]
    save_bundle(tmp_path / "bundle", members, make_manifest(recipe=Recipe(size_px=(16, 16, 16))))
    volume = np.random.default_rng(0).integers(0, 256, (16, 16, 16), dtype=np.uint8)
    logits = Predictor.load(tmp_path / "bundle").predict([volume, volume[None]]).array("logit")
    with torch.no_grad():
        expected = torch.stack([m(torch.from_numpy(volume[None, None])) for m in members]).mean(0).numpy()
    np.testing.assert_allclose(logits, np.repeat(expected, 2, axis=0), rtol=1e-4, atol=1e-5)


def test_an_ensemble_has_no_budgets(make_classifier, make_manifest, tmp_path) -> None:
    save_bundle(tmp_path / "bundle", [make_classifier(seed) for seed in (0, 1)], make_manifest())
    predictor = Predictor.load(tmp_path / "bundle", device="cpu")
    with pytest.raises(SettingsError, match=r"budget = 0\.6 for 2 networks that answer together\. Train one network"):
        predictor.budget_point(0.6)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"workers": 0}])
def test_impossible_settings_are_refused(predictor: Predictor, wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="expected 1 or more"):
        predictor.predict([], **wrong)


def test_a_device_that_is_not_there_is_refused(bundle_folder: Path) -> None:
    if torch.cuda.is_available():
        assert Predictor(load_bundle(bundle_folder), device="cuda").device.type == "cuda"
    else:
        with pytest.raises(SettingsError, match="'cuda' is not available here"):
            Predictor(load_bundle(bundle_folder), device="cuda")


def test_the_package_loads_a_bundle(bundle_folder: Path, tmp_path: Path, pictures: list[Path]) -> None:
    assert len(resight.load(str(bundle_folder)).predict(pictures)) == 5
    with pytest.raises(BundleError, match="no such folder"):
        resight.load(tmp_path / "absent")


def test_real_images_of_every_kind_get_a_row(predictor: Predictor, real_data: Callable[[str], Path]) -> None:
    predictions = predictor.predict(real_data("dicom_variety"), batch=8)
    errors = predictions.table["error"].iloc[::2]
    assert len(predictions) > 5
    assert errors.isna().sum() > 0
    assert np.isfinite(predictions.array("score")[errors.isna().to_numpy()]).all()


def adaptive_bundle(folder: Path, make_manifest: Callable[..., Manifest]) -> Path:
    """Exits that decide at once or not at all, depending on the point."""
    options = ModelOptions(
        backbone={"name": "resnet", "depth": 10, "width": 4, "zero_init": False}, exits={"after": ["stage1", "stage2"]}
    )
    torch.manual_seed(0)
    model = build_classifier(options, labels=("effusion", "nodule"), channels=1, dims=2)
    early = Calibration(task="multilabel", labels=(LabelCalibration(method="platt", scale=1.0, bias=3.0),) * 2)
    late = Calibration(task="multilabel", labels=(LabelCalibration(),) * 2)
    thresholds = tuple(
        OperatingPoint(name="youden", label=label, threshold=0.9, rule=OperatingRule())
        for label in ("effusion", "nodule")
    )
    points = tuple(
        BudgetPoint(share=share, margins=margins, calibrations=(early, early, late), operating_points=thresholds)
        for share, margins in ((0.4, (0.0, None)), (0.8, (1e6, 1e6)))
    )
    budgets = Budgets(exits=("stage1", "stage2"), deciding=(0.5, 0.5), whole_flops=1000, points=points)
    save_bundle(folder, model, make_manifest(model=options, budgets=budgets))
    return folder


def test_a_budget_buys_early_answers_with_their_own_calibration_and_thresholds(
    tmp_path: Path, make_manifest: Callable[..., Manifest], pictures: list[Path]
) -> None:
    predictor = Predictor.load(adaptive_bundle(tmp_path / "bundle", make_manifest))
    cheap, dear, whole = (predictor.predict(pictures, budget=budget) for budget in (0.5, 1.0, None))
    assert set(cheap.table["exit"]) == {"stage1"}
    assert set(dear.table["exit"]) == {"last"}
    assert "exit" not in whole.table
    assert cheap.table["flops_share"].max() < 0.7 < 1 < dear.table["flops_share"].min()  # every exit was asked
    np.testing.assert_allclose(dear.array("logit"), whole.array("logit"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cheap.array("probability"), expit(cheap.array("logit") + 3))
    assert (cheap.array("decision") == (cheap.array("probability") >= 0.9)).all()
    one_by_one = predictor.predict(pictures, budget=0.5, batch=1)
    np.testing.assert_allclose(one_by_one.array("logit"), cheap.array("logit"), rtol=1e-4, atol=1e-5)


def test_a_broken_image_has_no_exit(
    tmp_path: Path, make_manifest: Callable[..., Manifest], pictures: list[Path]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    predictor = Predictor.load(adaptive_bundle(tmp_path / "bundle", make_manifest))
    images = predictor.predict([broken, pictures[0]], budget=0.5).images()
    assert images["exit"].tolist() == [None, "stage1"]
    assert np.isnan(images["flops_share"][0])
    assert images["error"].notna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("budget", "line"),
    [
        (0.3, "budget = 0.3; expected at least 0.40, the least this model was fitted for"),
        (-1.0, "budget = -1; expected a share of the FLOPs above 0, at most 1"),
    ],
)
def test_budgets_that_cannot_be_are_named(
    tmp_path: Path, make_manifest: Callable[..., Manifest], budget: float, line: str
) -> None:
    predictor = Predictor.load(adaptive_bundle(tmp_path / "bundle", make_manifest))
    with pytest.raises(SettingsError, match=line):
        predictor.predict([], budget=budget)


def test_a_budget_for_a_bundle_without_exits_is_refused(predictor: Predictor) -> None:
    line = r"budget = 0.6, but the bundle has neither exits nor gates .* Train with \[model.exits\], or with"
    with pytest.raises(SettingsError, match=line):
        predictor.predict([], budget=0.6)


def test_budgets_of_other_exits_do_not_fit_a_manifest(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> None:
    manifest = load_bundle(adaptive_bundle(tmp_path / "bundle", make_manifest)).manifest
    with pytest.raises(ValueError, match="budgets of one network with the exits that it has"):
        make_manifest(budgets=manifest.budgets)


def test_a_set_is_made_by_the_thresholds_of_the_images_group(
    tmp_path: Path, make_classifier, make_manifest, calibration: Calibration, pictures: list[Path]
) -> None:
    nothing, everything = {"present": 1.0, "absent": 1.0}, {"present": 0.0, "absent": 0.0}
    conformal = Conformal(
        task="multilabel",
        method="marginal",
        coverage=0.9,
        labels=[everything] * 2,
        rule=GroupRule(by="sex"),
        groups={"F": [nothing] * 2, "M": [everything | {"absent": 1.0}] * 2},
    )
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest(calibration=calibration, conformal=conformal))
    predictor = Predictor.load(tmp_path / "bundle")
    names = [path.name for path in pictures]
    patients = pd.DataFrame({"image": names[:4], "sex": ["F", "M", "X", None]})
    table = predictor.predict(pictures, table=patients).table.iloc[::2]
    assert table["conformal"].tolist() == ["neither", "present", "either", "either", "either"]
    assert table["conformal_group"].tolist() == ["F", "M", "", "", ""]
    assert table["sex"].tolist()[:3] == ["F", "M", "X"]
    assert predictor.predict(pictures[:1]).table["conformal"].tolist() == ["either"] * 2
    with pytest.raises(CohortError, match="no column 'sex'"):
        predictor.predict(pictures, table=patients[["image"]])
