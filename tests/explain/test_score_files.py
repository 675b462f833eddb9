"""Scores from files: images that have a reference come alone, and where none has one the rest is still measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from resight.cohorts import PhantomOptions, write_phantom
from resight.errors import ImageError
from resight.explain import References, build_explainer
from resight.explain.score_files import score_files
from resight.models import load_bundle

BUNDLE = Path(__file__).parents[1] / "golden" / "bundle_v1"


@pytest.mark.parametrize(("name", "images"), [("images/000001.png", 1), ("elsewhere.png", 3)])
def test_references_choose_images_and_their_absence_is_told(tmp_path: Path, name: str, images: int) -> None:
    write_phantom(PhantomOptions(images=3, size_px=64), tmp_path)
    bundle = load_bundle(BUNDLE)
    box = {"image": name, "label": bundle.manifest.labels[0], "x_px": 20, "y_px": 20, "width_px": 20, "height_px": 20}
    pd.DataFrame([box]).to_csv(tmp_path / "boxes.csv", index=False)
    references = References.read(tmp_path / "boxes.csv")
    explainer = build_explainer("gradcam")
    found = score_files(bundle, [tmp_path / "images"], explainer, "gradcam", references=references)
    assert found.images == images
    assert f"{images} images, fewer than 20, say little of an explainer." in found.notes
    told = "No reference lies on these 3 images: whether maps hit findings is not estimable."
    assert (told in found.notes) is (images == 3)
    assert bool(found.places) is (images == 1)
    assert all(value.n and not (value.low > value.high) for value in found.faithfulness.values())


def test_no_image_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    with pytest.raises(ImageError, match="no image can be used"):
        score_files(load_bundle(BUNDLE), [tmp_path / "broken.png"], build_explainer("gradcam"), "gradcam")
