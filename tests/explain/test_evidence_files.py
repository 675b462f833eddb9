"""Evidence on the voxels of the file it belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from resight.cli.main import main
from resight.cohorts import PhantomOptions, VolumePhantomOptions, render_volume, write_phantom, write_volume_phantom
from resight.errors import ImageError
from resight.explain import image_grid, onto_image_grid, write_volume_map
from resight.imaging import VOI, read
from resight.models import Manifest, ModelOptions, build_classifier, save_bundle
from resight.preprocess import Recipe
from resight.types import Attribution

OPTIONS = VolumePhantomOptions(
    volumes=4, in_plane_mm=(4.0, 4.0), slice_mm=(4.0, 10.0), turned=1, prevalence=1, masks=True
)
RECIPE = Recipe(size_px=(32, 32, 40), spacing_mm=(8.0, 8.0, 9.0), voi=VOI(mode="fixed", center=-400, width=1200))
TINY = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4, "stem": "strided", "zero_init": False})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    write_volume_phantom(OPTIONS, folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = build_classifier(TINY, labels=("nodule",), channels=1, dims=3)
    with torch.no_grad():
        model.head.fc.weight.abs_()  # something must speak for the label, or maps are empty
    folder = tmp_path_factory.mktemp("model") / "bundle"
    save_bundle(folder, model, Manifest(labels=("nodule",), task="binary", recipe=RECIPE, model=TINY))
    return folder


@pytest.mark.parametrize("index", range(3))
def test_a_map_lies_where_the_network_saw_what_it_marks(cohort: Path, tmp_path: Path, index: int) -> None:
    """What the network sees, sent back as if it were evidence, is the volume again, voxel on voxel."""
    path = cohort / "images" / f"{index:06d}.nii.gz"
    image = read(path, voi=RECIPE.voi)
    seen = RECIPE.apply(image).astype(np.float32) / 255
    evidence = onto_image_grid(seen, RECIPE.grid(image), image.pixels.shape[1:])[0]
    write_volume_map(tmp_path / "map.nii.gz", Attribution(evidence, "nodule", "itself"), image)
    stored, written = nib.load(path), nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(written.affine, stored.affine, atol=1e-4)
    assert written.shape == stored.shape
    grey = np.clip((np.asarray(stored.dataobj) + 1000) / 1200, 0, 1)
    inside = written.get_fdata() > 0  # what the grid does not reach is 0
    here = np.corrcoef(written.get_fdata()[inside], grey[inside])[0, 1]
    assert here > 0.95
    for axis in range(3):  # a shift by one voxel, or a flip, is worse
        for other in (np.roll(grey, 1, axis), np.roll(grey, -1, axis), np.flip(grey, axis)):
            assert np.corrcoef(written.get_fdata()[inside], other[inside])[0, 1] < here


def test_large_volumes_are_done_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.random.default_rng(0).random((2, 4, 5, 6), np.float32)
    space, grid = (40, 30, 50), np.array([[9.7, 0, 0, 1.3], [0, 6.3, 0, 1], [0, 0, 8.1, 0.2], [0, 0, 0, 1]])
    whole = onto_image_grid(maps, grid, space)
    monkeypatch.setattr(image_grid, "_VOXELS_AT_ONCE", 7 * 30 * 50)
    np.testing.assert_allclose(onto_image_grid(maps, grid, space), whole, atol=1e-5)


def test_the_command_writes_a_map_for_every_volume(cohort: Path, bundle: Path, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken.nii"
    broken.write_bytes((cohort / "images" / "000000.nii.gz").read_bytes()[:2000])
    arguments = ["explain", str(bundle), str(cohort / "images"), str(broken), "--out", str(tmp_path / "maps"), "--json"]
    assert main([*arguments, "--option", "stage=1"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 5
    assert "truncated" in rows[-1]["error"]
    table = pd.read_csv(tmp_path / "maps" / "evidence.csv")
    for index, row in table.iloc[:4].iterrows():
        written = nib.load(tmp_path / "maps" / str(row["file"]))
        drawn = render_volume(OPTIONS, int(index))
        stored = nib.load(cohort / "images" / row["image"])
        np.testing.assert_allclose(written.affine, stored.affine, atol=1e-4)
        assert written.get_fdata().max() == pytest.approx(row["peak"], rel=1e-5)
        peak = np.array([int(word) for word in row["peak_at"].split()])
        np.testing.assert_allclose(
            [float(w) for w in row["peak_mm"].split()], (drawn.affine @ [*peak, 1])[:3], atol=0.06
        )
    assert main(arguments) == 7  # the folder holds something
    assert main([*arguments[:2], str(broken), "--out", str(tmp_path / "none")]) == 4
    assert "none of 1 images can be explained" in capsys.readouterr().err
    assert main([*arguments[:-1], "--force", "--labels", "nodul"]) == 3


def test_pictures_are_overlaid_in_colour(tmp_path: Path) -> None:
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4, "zero_init": False})
    torch.manual_seed(0)
    model = build_classifier(options, labels=("a", "b"), channels=1, dims=2)
    manifest = Manifest(labels=("a", "b"), task="multilabel", recipe=Recipe(size_px=(32, 32)), model=options)
    save_bundle(tmp_path / "bundle", model, manifest)
    assert main(["data", "phantom", str(tmp_path / "data"), "--option", "images=2", "--option", "size_px=64"]) == 0
    images, maps = tmp_path / "data" / "images", tmp_path / "maps"
    assert (
        main(["explain", str(tmp_path / "bundle"), str(images), "--out", str(maps), "--labels", "b", "--arrays"]) == 0
    )
    table = pd.read_csv(maps / "evidence.csv")
    assert list(table["label"]) == ["b", "b"]
    assert table["peak_mm"].isna().all()
    assert read(maps / table["picture"][0]).pixels.shape == (3, 64, 64)
    assert np.load(maps / table["file"][0]).shape == (64, 64)
    page = (maps / "evidence.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2
    assert "no probability" in page or "probability 0." in page


def test_a_volume_without_a_place_in_space_is_named(tmp_path: Path, cohort: Path) -> None:
    image = read(cohort / "images" / "000000.nii.gz")
    stripped = image.__class__(image.pixels, image.spacing_mm, "OT", "somewhere")
    with pytest.raises(ImageError, match="somewhere: has no place in space"):
        write_volume_map(tmp_path / "a.nii", Attribution(image.pixels[0], "x", "y"), stripped)


def test_the_same_anatomy_stored_in_any_orientation_gets_the_same_answer(
    cohort: Path, bundle: Path, tmp_path: Path
) -> None:
    from resight.models import Predictor

    stored = nib.load(cohort / "images" / "000001.nii.gz")
    predictor = Predictor.load(bundle, device="cpu")
    logits = []
    for number, order in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)]):
        flips = [1 - 2 * ((number >> axis) & 1) for axis in range(3)]
        turned = stored.as_reoriented(np.array(list(zip(order, flips, strict=True))))
        nib.save(turned, tmp_path / f"{number}.nii.gz")
        logits.append(predictor.predict(tmp_path / f"{number}.nii.gz").table["logit"].iloc[0])
    assert logits[0] == logits[1] == logits[2]


def test_where_nothing_speaks_for_a_label_there_is_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4, "zero_init": False})
    torch.manual_seed(0)
    model = build_classifier(options, labels=("for", "against"), channels=1, dims=2)
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand_as(model.head.fc.weight))
    manifest = Manifest(labels=("for", "against"), task="multilabel", recipe=Recipe(size_px=(32, 32)), model=options)
    save_bundle(tmp_path / "bundle", model, manifest)
    drawn = write_phantom(PhantomOptions(images=1, size_px=64), tmp_path / "data")
    image = str(tmp_path / "data" / str(drawn.table["image"][0]))
    assert main(["explain", str(tmp_path / "bundle"), image, "--out", str(tmp_path / "maps")]) == 0
    table = pd.read_csv(tmp_path / "maps" / "evidence.csv").set_index("label")
    assert table["peak"]["for"] > 0
    assert len(table["peak_at"]["for"].split()) == 2
    assert (table["peak"]["against"], table["peak_at"].isna()["against"]) == (0, True)
    assert "1 of 2 maps are empty" in capsys.readouterr().err
