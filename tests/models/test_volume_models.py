"""Every way to look at volumes keeps the promises of a model: bundle, evidence on the volume's grid, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from resight.errors import SettingsError
from resight.explain import build_explainer
from resight.models import Classifier, ModelOptions, build_classifier, load_bundle, save_bundle
from resight.preprocess import Recipe

SPACE = (16, 32, 32)
TINY = {"depth": 10, "width": 4, "stem": "strided", "zero_init": False}
BACKBONES: dict[str, dict[str, Any]] = {
    "full": {"name": "resnet", **TINY},
    "thick slices": {"name": "resnet", **TINY, "stem_depth_stride": 1},
    "largest place": {"name": "resnet", **TINY, "pooling": "max"},
    "attention over places": {"name": "resnet", **TINY, "pooling": "attention"},
    "acs": {"name": "resnet", **TINY, "filters": "acs"},
    "slices": {"name": "slices", "network": {"name": "resnet", **TINY}, "pooling": "attention"},
    "windows": {
        "name": "windows",
        "network": {"name": "resnet", **TINY},
        "side_px": (16, 16, 16),
        "training_windows": 2,
        "overlap": 0,
    },
}
VOLUMES = (torch.arange(2 * 16 * 32 * 32) * 7 % 251).to(torch.uint8).reshape(2, 1, *SPACE)


@pytest.fixture(params=BACKBONES)
def options(request: pytest.FixtureRequest) -> ModelOptions:
    return ModelOptions(backbone=BACKBONES[request.param])


def classifier(options: ModelOptions) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(options, labels=("effusion", "nodule"), channels=1, dims=3).eval()


def test_what_is_saved_is_loaded(options: ModelOptions, tmp_path: Path, make_manifest) -> None:
    model = classifier(options)
    save_bundle(tmp_path / "bundle", model, make_manifest(recipe=Recipe(size_px=SPACE), model=options))
    bundle = load_bundle(tmp_path / "bundle")
    with torch.no_grad():
        assert torch.equal(bundle.model(VOLUMES), model(VOLUMES))


@pytest.mark.parametrize("stage", [-1, 1])
def test_evidence_lies_on_the_grid_of_the_volume_and_adds_up_as_promised(options: ModelOptions, stage: int) -> None:
    model = classifier(options)
    if stage == 1 and not model.backbone.stages_are_a_chain:
        with pytest.raises(SettingsError, match="stage = 1: no gradient reaches it; expected -1"):
            build_explainer("gradcam", stage=stage).explain(model, VOLUMES)
        return
    found = build_explainer("gradcam", stage=stage).predict_and_explain(model, VOLUMES)
    assert found.maps.shape == (2, 2, *SPACE)
    assert found.maps.isfinite().all()
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(VOLUMES))


def test_a_step_of_training_reaches_every_weight(options: ModelOptions) -> None:
    model = classifier(options).train()
    torch.manual_seed(0)
    model.answers(VOLUMES).logits.square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
