"""The class activation maps against their formulas, written out pixel by pixel."""

import statistics
import time

import pytest
import torch
from torch.nn import functional

from resight.errors import SettingsError
from resight.explain import build_explainer
from resight.models import ModelOptions, build_classifier


def _by_hand(classifier, images, label, stage):
    """Activations and gradient of one logit at one stage, through the whole network."""
    classifier.zero_grad()
    stages = classifier.stages(images.clone().requires_grad_())
    logit = classifier.head(classifier.backbone.pool(stages[-1]))[:, label].sum()
    return stages[stage].detach(), torch.autograd.grad(logit, stages[stage])[0]


def _enlarged(maps, space):
    return functional.interpolate(maps[:, None], size=space, mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize("stage", [-1, 1])
def test_gradcam_plus_plus_is_equation_19(small_classifier, stage):
    classifier, images = small_classifier(), 255 * torch.rand(2, 1, 24, 16)
    ours = build_explainer("gradcam++", stage=stage).explain(classifier, images)
    for label in range(3):
        a, g = _by_hand(classifier, images, label, stage)
        total = a.sum(dim=(2, 3), keepdim=True)
        alpha = g**2 / (2 * g**2 + total * g**3)
        weights = torch.where(g > 0, alpha * g, torch.zeros_like(g)).sum(dim=(2, 3))
        expected = (weights[:, :, None, None] * a).sum(dim=1).relu()
        assert expected.max() > 0
        torch.testing.assert_close(ours[:, label], _enlarged(expected, (24, 16)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", [-1, 0])
def test_layercam_weighs_every_pixel_by_its_own_gradient(small_classifier, stage):
    classifier, images = small_classifier(), 255 * torch.rand(2, 1, 24, 16)
    ours = build_explainer("layercam", stage=stage).explain(classifier, images)
    for label in range(3):
        a, g = _by_hand(classifier, images, label, stage)
        expected = (g.relu() * a).sum(dim=1).relu()
        assert expected.max() > 0
        torch.testing.assert_close(ours[:, label], _enlarged(expected, (24, 16)), rtol=1e-4, atol=1e-6)


def test_gradcam_without_mean_pooling_takes_the_gradient_through_the_pooling(small_classifier):
    torch.manual_seed(3)
    options = ModelOptions(backbone={"name": "alexnet"})
    classifier = build_classifier(options, labels=tuple("abcdefgh"), channels=1, dims=2).eval()
    assert not classifier.backbone.pools_by_mean
    images = 255 * torch.rand(1, 1, 96, 96)
    ours = build_explainer("gradcam").explain(classifier, images)
    assert ours.max() > 0
    for label in range(8):
        a, g = _by_hand(classifier, images, label, -1)
        expected = (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1).relu()
        torch.testing.assert_close(ours[:, label], _enlarged(expected, (96, 96)), rtol=1e-4, atol=1e-7)


def test_a_stage_that_is_not_there_is_named(small_classifier):
    with pytest.raises(SettingsError, match="ResNet: stage = 4; expected -4 to 3"):
        build_explainer("gradcam", stage=4).explain(small_classifier(), torch.rand(1, 1, 16, 16))


def test_edges_of_a_map_are_not_stretched(small_classifier):
    """The map of a mirrored volume is the mirrored map: nothing is shifted and no slice counts twice."""
    torch.manual_seed(4)
    classifier = small_classifier(dims=3, width=4)
    with torch.no_grad():
        for parameter in classifier.parameters():
            if parameter.ndim == 5:
                parameter.copy_((parameter + parameter.flip(2)) / 2)
    # 17 slices: a step of 2 from both ends meets the same slices.
    images = 255 * torch.rand(1, 1, 17, 16, 16)
    explainer = build_explainer("gradcam")
    maps, mirrored = explainer.explain(classifier, images), explainer.explain(classifier, images.flip(2))
    assert maps.max() > 0
    torch.testing.assert_close(mirrored.flip(2), maps, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_fourteen_maps_cost_hardly_more_than_the_prediction():
    """Against 14 times autograd as peers do it; process time, interleaved, medians of paired ratios."""
    torch.manual_seed(0)
    labels = [f"label{i}" for i in range(14)]
    options = ModelOptions(backbone={"name": "resnet", "depth": 50})
    classifier = build_classifier(options, labels=labels, channels=3, dims=2).eval()
    images = 255 * torch.rand(1, 3, 224, 224)
    explainer = build_explainer("gradcam")

    def peer():
        maps = []
        for label in range(14):
            a, g = _by_hand_whole(classifier, images, label)
            maps.append(_enlarged((g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1).relu(), (224, 224)))
        return torch.stack(maps, dim=1)

    def predict():
        with torch.inference_mode():
            return classifier(images)

    def ours():
        return explainer.predict_and_explain(classifier, images).maps

    torch.testing.assert_close(ours(), peer(), rtol=1e-3, atol=1e-6)
    extra = [_seconds(ours) / _seconds(predict) for _ in range(9)]
    gain = [_seconds(peer) / _seconds(ours) for _ in range(2)]
    print(f"14 maps + prediction / prediction: {statistics.median(extra):.3f}; peer / ours: {min(gain):.1f}")
    assert statistics.median(extra) <= 1.10
    assert min(gain) >= 30


def _by_hand_whole(classifier, images, label):
    """As peers do: a forward and a full backward pass for every label."""
    classifier.zero_grad()
    kept = classifier.stages(images)[-1]
    kept.retain_grad()
    classifier.head(classifier.backbone.pool(kept))[:, label].sum().backward()
    return kept.detach(), kept.grad


def _seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start
