"""Ours against captum where it has the same method."""

import math

import pytest
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max

from resight.explain import build_explainer, infidelity, max_sensitivity
from resight.models import ModelOptions, build_classifier


@pytest.fixture(params=[(2, 3), (3, 1)], ids=["2D", "3D"], scope="module")
def case(request):
    dims, channels = request.param
    torch.manual_seed(2)
    backbone = {"name": "resnet", "depth": 10, "width": 8, "stem": "cifar", "zero_init": False}
    classifier = build_classifier(ModelOptions(backbone=backbone), labels=("a", "b"), channels=channels, dims=dims)
    images = torch.rand(2, channels, *((32, 20) if dims == 2 else (8, 16, 12))) * 255
    return classifier.eval(), images


@pytest.mark.parametrize("stage", [-1, -2, 0])
def test_gradcam(case, stage):
    classifier, images = case
    ours = build_explainer("gradcam", stage=stage).explain(classifier, images)
    theirs = LayerGradCam(classifier, classifier.backbone.layers[stage])
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    for label in range(2):
        small = theirs.attribute(images, target=label, relu_attributions=True)
        expected = LayerAttribution.interpolate(small, images.shape[2:], mode)[:, 0]
        assert expected.max() > 0
        torch.testing.assert_close(ours[:, label], expected.detach(), rtol=1e-4, atol=1e-6)


def test_integrated_gradients(case):
    classifier, images = case
    ours = build_explainer("integrated_gradients", steps=12, baseline="mean").explain(classifier, images)
    baseline = (255 * classifier.mean).view(1, -1, *[1] * (images.ndim - 2)).expand_as(images)
    for label in range(2):
        theirs = IntegratedGradients(classifier).attribute(images, baseline, target=label, n_steps=12)
        torch.testing.assert_close(ours[:, label], theirs.sum(dim=1).float(), rtol=1e-3, atol=1e-5)


def test_smoothgrad_without_noise_is_saliency(case):
    classifier, images = case
    ours = build_explainer("smoothgrad", samples=1, noise=0).explain(classifier, images)
    for label in range(2):
        theirs = Saliency(classifier).attribute(images.clone().requires_grad_(), target=label).amax(dim=1)
        torch.testing.assert_close(ours[:, label], theirs)


def test_occlusion(case):
    classifier, images = case
    explainer = build_explainer("occlusion", window=0.3, stride=0.4, fill="black", batch=7)
    ours = explainer.explain(classifier, images)
    window = [round(0.3 * side) for side in images.shape[2:]]
    strides = [round(0.4 * side) for side in window]
    channels = images.shape[1]
    for label in range(2):
        theirs = Occlusion(classifier).attribute(
            images, (channels, *window), (channels, *strides), baselines=0, target=label
        )
        torch.testing.assert_close(ours[:, label], theirs[:, 0].float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
def test_infidelity(case, normalise):
    classifier, images = case
    repeats, count = 6, len(images)
    noise = 20 * torch.randn(repeats, count, 1, *images.shape[2:])
    maps = build_explainer("integrated_gradients", steps=4).explain(classifier, images)
    ours = infidelity(classifier, images, maps, noise, normalise=normalise)

    def perturb(inputs):  # captum repeats every image `repeats` times
        repeated = noise.transpose(0, 1).flatten(0, 1).expand_as(inputs)
        return repeated, inputs - repeated

    for label in range(2):
        # Our map is summed over channels and the noise is the same in each: spread it evenly for captum.
        spread = maps[:, label : label + 1].expand_as(images) / images.shape[1]
        theirs = captum_infidelity(
            classifier, perturb, images, spread, target=label, n_perturb_samples=repeats, normalize=normalise
        )
        torch.testing.assert_close(ours[:, label], theirs.detach(), rtol=1e-3, atol=1e-5)


def test_max_sensitivity(case):
    classifier, images = case
    explainer, repeats = build_explainer("gradcam"), 5
    noise = 10 * (2 * torch.rand(repeats, *images.shape) - 1)
    ours = max_sensitivity(explainer, classifier, images, noise)
    for label in range(2):
        theirs = sensitivity_max(
            _as_captum_calls_it(explainer, classifier, label),
            images,
            perturb_func=lambda x: x + noise.transpose(0, 1).flatten(0, 1),
            n_perturb_samples=repeats,
        )
        torch.testing.assert_close(ours[:, label], theirs, rtol=1e-4, atol=1e-6)
        assert all(math.isfinite(v) and v > 0 for v in theirs.tolist())


def _as_captum_calls_it(explainer, classifier, label):
    """Captum hands over a tensor in a tuple, or a tensor, and wants back what it gave."""

    def attribute(inputs):
        if isinstance(inputs, tuple):
            return (attribute(inputs[0]),)
        return explainer.explain(classifier, inputs)[:, label]

    return attribute
