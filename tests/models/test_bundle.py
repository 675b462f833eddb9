"""A bundle gives back the model that was saved, or says what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resight.errors import BundleError, OutputError
from resight.models import Manifest, ModelOptions, build_classifier, load_bundle, save_bundle, verify_bundle
from resight.preprocess import Recipe

FILES = ["card.md", "manifest.json", "manifest.json.sha256", "model.safetensors"]
IMAGES = (torch.arange(2 * 32 * 32) * 7 % 251).to(torch.uint8).reshape(2, 1, 32, 32)


def test_what_is_saved_is_loaded(bundle_folder: Path, make_classifier, make_manifest, calibration) -> None:
    assert sorted(path.name for path in bundle_folder.iterdir()) == FILES
    assert verify_bundle(bundle_folder) == []
    bundle = load_bundle(bundle_folder)
    assert torch.equal(bundle.model(IMAGES), make_classifier()(IMAGES))
    assert not bundle.model.training
    assert len({path.stat().st_mode for path in bundle_folder.iterdir()}) == 1
    assert bundle.manifest.model.backbone["norm"] == "batch"
    with torch.no_grad():
        bundle.model(IMAGES)
    folder = bundle_folder.with_name("again")
    written = save_bundle(folder, bundle.members[0], make_manifest(calibration=calibration))
    assert load_bundle(folder).manifest == written


def test_an_ensemble_keeps_its_order(tmp_path: Path, make_classifier, make_manifest) -> None:
    members = [make_classifier(seed) for seed in (3, 1, 2)]
    save_bundle(tmp_path / "bundle", members, make_manifest(combination="mean_probabilities"))
    bundle = load_bundle(tmp_path / "bundle")
    assert sorted(p.name for p in (tmp_path / "bundle").glob("*.safetensors")) == [
        f"model_{i}.safetensors" for i in range(3)
    ]
    for ours, theirs in zip(bundle.members, members, strict=True):
        assert torch.equal(ours(IMAGES), theirs(IMAGES))
    mean = torch.stack([m(IMAGES).sigmoid() for m in members]).mean(0)
    torch.testing.assert_close(bundle.model(IMAGES).sigmoid(), mean)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_changed_bit_is_found(bundle_folder: Path, name: str, place: float, bit: int) -> None:
    path = bundle_folder / name
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[int(place * len(whole))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        assert verify_bundle(bundle_folder)
        with pytest.raises(BundleError, match="was changed"):
            load_bundle(bundle_folder)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "empty"])
def test_any_damaged_file_is_named(bundle_folder: Path, name: str, damage: str) -> None:
    path = bundle_folder / name
    if damage == "missing":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:-1], "longer": whole + b"\n", "empty": b""}[damage])
    with pytest.raises(BundleError, match=name.split(".sha256")[0]):
        load_bundle(bundle_folder)


def resign(folder: Path, **changes: Any) -> None:
    """What somebody does who edits a bundle and renews its checksums."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    manifest["files"] = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in manifest["files"]}
    path.write_text(json.dumps(manifest))
    (folder / "manifest.json.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  manifest.json\n")


def recipe_of(folder: Path, **changes: Any) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())["recipe"] | changes


def test_renewed_checksums_alone_change_nothing(bundle_folder: Path) -> None:
    resign(bundle_folder)
    assert load_bundle(bundle_folder).manifest.intended_use == "Tests."


def test_other_labels_channels_or_dimensions_than_the_weights_are_refused(bundle_folder: Path) -> None:
    for changes in (
        {"labels": ["nodule", "effusion"]},
        {"recipe": recipe_of(bundle_folder, channels=3)},
        {"recipe": recipe_of(bundle_folder, size_px=[32, 32, 32])},
        {"task": "multiclass"},
    ):
        copy = bundle_folder.with_name("copy")
        shutil.copytree(bundle_folder, copy)
        resign(copy, **changes)
        with pytest.raises(BundleError, match="weights made for"):
            load_bundle(copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "Install a newer version"),
        ({"format_version": None}, "bundle format None"),
        ({"lables": []}, "does not fit this version"),
        ({"operating_points": [{"name": "x"}]}, "does not fit this version"),
        (
            {"model": {"backbone": {"name": "resnet", "depth": 18, "width": 4}, "head": {"name": "linear"}}},
            "do not fit the model",
        ),
        ({"model": {"backbone": {"name": "resnext"}, "head": {"name": "linear"}}}, "cannot be built"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(bundle_folder: Path, changes: dict[str, Any], words: str) -> None:
    resign(bundle_folder, **changes)
    with pytest.raises(BundleError, match=words):
        load_bundle(bundle_folder)


def test_a_manifest_that_is_not_json_is_refused(bundle_folder: Path) -> None:
    path = bundle_folder / "manifest.json"
    path.write_text("[1, 2")
    path.with_name("manifest.json.sha256").write_text(f"{hashlib.sha256(b'[1, 2').hexdigest()}  manifest.json\n")
    with pytest.raises(BundleError, match="is not JSON"):
        load_bundle(bundle_folder)


def test_a_folder_that_is_there_is_left_alone(bundle_folder: Path, make_classifier, make_manifest) -> None:
    before = {path.name: path.read_bytes() for path in bundle_folder.iterdir()}
    with pytest.raises(OutputError, match="exists already"):
        save_bundle(bundle_folder, make_classifier(), make_manifest())
    assert {path.name: path.read_bytes() for path in bundle_folder.iterdir()} == before


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, make_classifier, make_manifest, monkeypatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resight.models.bundle.write_sealed", full)
    with pytest.raises(OutputError, match="No space left"):
        save_bundle(tmp_path / "bundle", make_classifier(), make_manifest())
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_of_other_labels_is_not_saved(tmp_path: Path, make_classifier, make_manifest) -> None:
    with pytest.raises(BundleError, match="do not fit the model"):
        save_bundle(tmp_path / "bundle", make_classifier(labels=("a", "b", "c")), make_manifest())
    with pytest.raises(BundleError, match="do not fit the model"):
        save_bundle(tmp_path / "bundle", make_classifier(channels=3), make_manifest())
    with pytest.raises(BundleError, match="no classifier"):
        save_bundle(tmp_path / "bundle", [], make_manifest())
    assert list(tmp_path.iterdir()) == []


def test_weights_of_training_are_named_without_their_folder(tmp_path: Path, make_classifier, make_manifest) -> None:
    options = make_manifest().model.model_copy(update={"weights": Path("/home/somebody/w.safetensors")})
    save_bundle(tmp_path / "bundle", make_classifier(), make_manifest(model=options))
    assert load_bundle(tmp_path / "bundle").manifest.model.weights == Path("w.safetensors")


def test_the_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing here: no such folder"):
        load_bundle(tmp_path / "nothing here")


def test_what_is_near_a_bundle_leads_to_it(bundle_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    bundle_folder.rename(run / "bundle")
    with pytest.raises(BundleError, match=r"manifest.json is missing; .* Did you mean '.*run/bundle'\?"):
        load_bundle(run)
    with pytest.raises(BundleError, match=r"manifest.json: a file; expected the folder of a bundle"):
        load_bundle(run / "bundle" / "manifest.json")
    with pytest.raises(BundleError, match=r"Did you mean '.*run/bundle'\?"):
        load_bundle(run / "bundel")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ("a", "a")}, "every label once"),
        ({"task": "binary"}, "one label for a binary task"),
        ({"labels": ("effusion", "mass")}, "not of 'nodule'"),
    ],
)
def test_contradictions_in_a_manifest_are_refused(make_manifest, changes: dict[str, Any], words: str) -> None:
    points = make_manifest().operating_points
    with pytest.raises(ValueError, match=words):
        make_manifest(operating_points=points, **changes)


def test_volumes_have_bundles_too(tmp_path: Path, make_classifier, make_manifest) -> None:
    manifest = make_manifest(recipe=Recipe(size_px=(16, 16, 16)))
    save_bundle(tmp_path / "bundle", make_classifier(dims=3), manifest)
    assert load_bundle(tmp_path / "bundle").model(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2)


def test_the_card_says_what_the_manifest_knows(bundle_folder: Path) -> None:
    card = (bundle_folder / "card.md").read_text()
    for words in ("Tests.", "effusion, nodule", "| youden | effusion | 0.5 | 0.900 | not known |", "0.700 to 0.900"):
        assert words in card
    assert "not calibrated" in card
    assert "images: train 10" in card


def test_a_bare_manifest_has_an_honest_card() -> None:
    from resight.models import render_card

    card = render_card(Manifest(labels=("a",), task="binary", recipe=Recipe()))
    for words in ("Not stated by the maker", "does not mean that there are none", "Nothing is known", "no decisions"):
        assert words in card


def test_bundles_of_this_format_stay_readable() -> None:
    """`tests/golden/bundle_v1` was written when the format was fixed; it must load for ever, with the same logits."""
    folder = Path(__file__).parents[1] / "golden" / "bundle_v1"
    bundle = load_bundle(folder)
    expected = torch.tensor(json.loads((folder.parent / "bundle_v1_logits.json").read_text()))
    torch.testing.assert_close(bundle.model(IMAGES), expected, rtol=1e-5, atol=1e-5)
    assert bundle.manifest.operating_points[0].threshold == 0.5
    assert bundle.manifest.calibration is not None


def test_the_default_model_can_be_bundled(tmp_path: Path, make_manifest) -> None:
    model = build_classifier(ModelOptions(), labels=("effusion", "nodule"), channels=1, dims=2)
    save_bundle(tmp_path / "bundle", model, make_manifest(model=ModelOptions()))
    assert verify_bundle(tmp_path / "bundle") == []
