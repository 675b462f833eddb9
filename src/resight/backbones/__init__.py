"""Array to features: the residual network and the architectures it is compared with."""

from resight.backbones.base import BACKBONES, Backbone, BackboneBuilder, build_backbone
from resight.backbones.weights import WeightReport, load_weights, save_weights

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneBuilder",
    "WeightReport",
    "build_backbone",
    "load_weights",
    "save_weights",
]
