"""Every registered stem joins the images of a patient and does without those that are missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resight.explain import build_explainer
from resight.models import Classifier, ModelOptions, build_classifier
from resight.multimodal import STEMS


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def dims(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=STEMS.names())
def network(request: pytest.FixtureRequest, dims: int) -> Classifier:
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": 4, "stem": "cifar", "zero_init": False}
    options = ModelOptions(backbone=backbone, stem={"name": request.param, "dropout": 0.4})
    return build_classifier(options, labels=("a", "b"), channels=3, dims=dims, modalities=3).eval()


@pytest.fixture
def images(dims: int) -> torch.Tensor:
    size = (2, 3, *[16] * dims)
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, size, dtype=np.uint8))


def test_every_modality_matters_and_every_parameter_learns(network: Classifier, images: torch.Tensor) -> None:
    logits = network(images)
    for modality in range(3):
        changed = images.clone()
        changed[:, modality] = changed[:, modality].flip(0)
        assert not torch.allclose(network(changed), logits)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_missing_modality_is_answered_without(network: Classifier, images: torch.Tensor) -> None:
    missing = images.clone()
    missing[:, 1] = 0
    answer = network(missing)
    assert torch.isfinite(answer).all()
    assert not torch.allclose(answer, network(images))
    network.mean[1] += 0.3  # of the modality that is not there
    torch.testing.assert_close(network(missing), answer)


@pytest.mark.parametrize("network", ["gated"], indirect=True)
def test_the_stem_of_a_missing_modality_gives_nothing(network: Classifier, images: torch.Tensor) -> None:
    images[0, 1] = 0
    before = network(images)
    with torch.no_grad():
        network.stem.features[1].bias += 1.0
    after = network(images)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


def test_modalities_are_hidden_in_training_and_one_always_stays(network: Classifier, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    many = images[:1].expand(300, *images.shape[1:])
    network.train()
    shown, _ = network._hidden(many, None)
    there = (shown.flatten(2) != 0).any(dim=2)
    assert there.any(dim=1).all()
    assert 0.5 < there.float().mean() < 0.75
    network.eval()
    assert network._hidden(many, None)[0] is many


def test_gradcam_gives_a_map_on_the_common_grid(network: Classifier, images: torch.Tensor) -> None:
    explained = build_explainer("gradcam").predict_and_explain(network, images)
    assert explained.maps.shape == (2, 2, *images.shape[2:])
    assert explained.maps.isfinite().all()
    torch.testing.assert_close(explained.logits, network(images))
