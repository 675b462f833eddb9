"""Small classifiers, and a linear one whose right explanation is known."""

import pytest
import torch
from torch import nn

from resight.backbones import Backbone
from resight.models import Classifier, ModelOptions, build_classifier


class Pixels(Backbone):
    """Every pixel is a feature: with a linear head the classifier is linear in its image."""

    pools_by_mean = False

    def __init__(self, channels, pixels):
        super().__init__(stage_dims=(channels,), feature_dim=channels * pixels)

    def _stages(self, images):
        return (images,)

    def top(self, features):
        return features

    def pool(self, last):
        return last.flatten(1)


@pytest.fixture
def linear_classifier():
    """Build a classifier whose logits are `weights . images + 0.3`, weights of shape `(L, C, *space)`."""

    def build(weights):
        head = nn.Linear(weights[0].numel(), len(weights))
        with torch.no_grad():
            head.weight.copy_(255 * weights.flatten(1))
            head.bias.fill_(0.3)
        channels = weights.shape[1]
        return Classifier(Pixels(channels, weights[0, 0].numel()), head, [0.0] * channels, [1.0] * channels).eval()

    return build


@pytest.fixture
def small_classifier():
    """Build a ResNet-10 with random weights."""

    def build(*, labels=3, channels=1, dims=2, width=8):
        torch.manual_seed(1)
        backbone = {"name": "resnet", "depth": 10, "width": width, "stem": "cifar", "zero_init": False}
        options = ModelOptions(backbone=backbone, head={"name": "linear"})
        names = [f"label{i}" for i in range(labels)]
        classifier = build_classifier(options, labels=names, channels=channels, dims=dims).eval()
        for layer in classifier.modules():
            if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.normal_(layer.bias, std=0.2)  # without shifts the network would be linear along a ray
        return classifier

    return build
