"""What `resight.explain.base` promises, asked of every registered explainer, in 2D and 3D."""

import pytest
import torch

from resight.explain import EXPLAINERS, build_explainer
from resight.models import ModelOptions, build_classifier

_CHEAP = {"rise": {"masks": 24, "cells": 4}, "integrated_gradients": {"steps": 4}, "smoothgrad": {"samples": 3}}
_LABELS = ("a", "b", "c")


def _classifier(dims, channels):
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": 4, "stem": "cifar", "zero_init": False, "attention": "cbam"}
    options = ModelOptions(backbone=backbone, head={"name": "linear", "dropout": 0.5})
    return build_classifier(options, labels=_LABELS, channels=channels, dims=dims)


@pytest.fixture(params=[(2, 3), (3, 1)], ids=["2D", "3D"], scope="module")
def case(request):
    dims, channels = request.param
    classifier = _classifier(dims, channels).train()
    classifier.backbone.eval()  # a mixed state that must come back
    space = (24, 17) if dims == 2 else (9, 16, 12)
    images = torch.randint(0, 256, (2, channels, *space), dtype=torch.uint8)
    return classifier, images


@pytest.fixture(params=EXPLAINERS.names())
def explainer(request):
    return build_explainer(request.param, **_CHEAP.get(request.param, {}))


def test_one_finite_map_for_each_image_and_label(explainer, case):
    classifier, images = case
    maps = explainer.explain(classifier, images)
    assert maps.shape == (2, 3, *images.shape[2:])
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert not maps.requires_grad


def test_leaves_the_classifier_as_it_was(explainer, case):
    classifier, images = case
    weights = {name: value.clone() for name, value in classifier.state_dict().items()}
    modes = [module.training for module in classifier.modules()]
    explainer.explain(classifier, images)
    assert modes == [module.training for module in classifier.modules()]
    assert any(modes)
    assert not all(modes)
    assert all(torch.equal(value, weights[name]) for name, value in classifier.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())


def test_same_maps_again_without_grad_from_floats_and_with_frozen_weights(explainer, case):
    classifier, images = case
    maps = explainer.explain(classifier, images)
    floats = images.float()
    with torch.no_grad():
        again = explainer.explain(classifier, floats)
    assert torch.equal(maps, again)
    assert torch.equal(floats, images.float())
    assert not floats.requires_grad
    frozen = _classifier(images.ndim - 2, images.shape[1]).requires_grad_(requires_grad=False)
    torch.testing.assert_close(explainer.explain(frozen, images), maps)


def test_works_inside_a_service_that_runs_in_inference_mode(explainer, case):
    classifier, images = case
    with torch.inference_mode():
        inside = explainer.explain(classifier, images.float() * 1.0)
    torch.testing.assert_close(inside, explainer.explain(classifier, images))


def test_a_map_does_not_depend_on_the_rest_of_the_batch(explainer, case):
    classifier, images = case
    both = explainer.explain(classifier, images)
    alone = explainer.explain(classifier, images[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-4 * float(both.abs().max()))


def test_prediction_comes_along(explainer, case):
    classifier, images = case
    explanation = explainer.predict_and_explain(classifier, images)
    classifier_alone = _classifier(images.ndim - 2, images.shape[1]).eval()
    torch.testing.assert_close(explanation.logits, classifier_alone(images).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(explanation.maps, explainer.explain(classifier, images))
