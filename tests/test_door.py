"""`import resight` is light, and everything it promises is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import resight
from resight.backbones import load_weights, save_weights
from resight.cohorts import PhantomOptions, write_phantom
from resight.imaging import describe, list_images
from resight.models import load_bundle, verify_bundle

BUNDLE = Path(__file__).parent / "golden" / "bundle_v1"


def test_importing_the_package_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, resight; dir(resight); print(sorted({'torch', 'pandas', 'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", resight.__all__)
def test_every_public_name_can_be_used(name: str) -> None:
    assert getattr(resight, name) is not None
    assert name in dir(resight)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        resight.lood  # noqa: B018


def test_paths_may_be_text(tmp_path: Path) -> None:
    drawn = write_phantom(PhantomOptions(images=2, size_px=32), str(tmp_path / "study"))
    first = str(tmp_path / "study" / str(drawn.table["image"][0]))
    assert resight.read_image(first).pixels.shape == (1, 32, 32)
    assert describe(first)["width"] == 32
    assert len(list_images(str(tmp_path / "study"))) == 2
    predictor = resight.load(str(BUNDLE))
    predictor.predict(first).write(str(tmp_path / "p.csv"))
    assert len(resight.Predictions.read(str(tmp_path / "p.csv"))) == 1
    assert load_bundle(str(BUNDLE)).manifest == predictor.manifest
    assert verify_bundle(str(BUNDLE)) == []
    save_weights(predictor.network.backbone, str(tmp_path / "w.safetensors"))
    assert load_weights(predictor.network.backbone, str(tmp_path / "w.safetensors")).share == 1
    assert repr(predictor) == "Predictor('golden', multilabel, labels=['effusion', 'nodule'], engine='torch')"
